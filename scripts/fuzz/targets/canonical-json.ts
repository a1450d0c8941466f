/** Fuzz target: JSON text to canonical JSON, by parsing and from bytes that are canonical already. */

import { isUtf8 } from 'node:buffer';
import { CanonicalJsonError, canonicalJson } from '../../../src/kernel/matrix/canonical-json.js';
import { exactJsonObject } from '../../../src/kernel/matrix/old-versions/exact-numbers.js';
import { parseJsonObject } from '../../../src/kernel/matrix/parse-json.js';
import { valueEnd } from '../../../src/kernel/pdu-bytes/scan-canonical.js';
import type { Random } from '../../hq/room/plan/random.js';
import { mutateBytes } from '../mutate.js';
import { type FuzzTarget, mustHold } from '../run-target.js';

const CORPUS = [
  '{"a":1,"b":[true,false,null],"c":{"d":"e"}}',
  '{"b":2,"a":1}',
  '{"\uff5e":1,"\u{1f600}":2,"é":"\\u00e9\\n\\u000b\\/"}',
  '{"n":[0,-1,9007199254740991,9007199254740993,1e10,1.0,-0,5e-324,123456789012345678901234567890]}',
  '{"__proto__":{"a":1},"constructor":"x","":[]}',
  '{ "a" : [ [ [ { } ] ] ] , "unsigned" : { "age" : 1.5 } }',
].map((text) => Buffer.from(text));

function canonicalOf(text: string, strict: boolean): string | undefined {
  const parsed = parseJsonObject(text, strict);
  if (!parsed.ok) return undefined;
  try {
    return canonicalJson(strict ? parsed.value : (exactJsonObject(text) ?? parsed.value), strict);
  } catch (error) {
    if (error instanceof CanonicalJsonError) return undefined;
    throw error;
  }
}

export const canonicalJsonTarget: FuzzTarget = {
  name: 'canonical-json',
  makeInput: (random: Random) => mutateBytes(random, random.pick(CORPUS), CORPUS),
  check: (input) => {
    const isCanonical = input[0] === 0x7b && isUtf8(input) && valueEnd(input, 0, input.length) === input.length;
    const text = input.toString('utf8');
    const strict = canonicalOf(text, true);
    const lenient = canonicalOf(text, false);
    if (isCanonical) mustHold(strict === text, 'bytes that are canonical are their own canonical form');
    if (strict !== undefined) {
      mustHold(lenient === strict, 'what every version takes has one form');
      mustHold(canonicalOf(strict, true) === strict, 'canonical JSON is its own canonical form');
    }
    if (lenient !== undefined) {
      mustHold(lenient === '' || canonicalOf(lenient, false) !== undefined, 'a canonical form is JSON');
    }
  },
};
