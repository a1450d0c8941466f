/** Fuzz target: the splitter of streamed responses. Any chunks, one answer; what it lets through is what JSON.parse sees. */

import type { JsonValue } from '../../../src/kernel/matrix/json.js';
import { isJsonObject } from '../../../src/kernel/matrix/json.js';
import { ResponseSplitter, SplitError } from '../../../src/remote/split-response.js';
import type { Random } from '../../hq/room/plan/random.js';
import { mutateBytes } from '../mutate.js';
import { type FuzzTarget, mustHold } from '../run-target.js';

const ARRAYS: ReadonlySet<string> = new Set(['pdus', 'auth_chain', 'state', 'pdu_ids']);

const CORPUS = [
  '{"pdus":[{"a":1},{"b":[1,{"c":"}"}]}],"auth_chain":[],"origin":"a.test"}',
  '{"state":[{"type":"m.room.create","content":{"x":"\\"\\\\"}}],"members_omitted":true,"servers_in_room":["a","b"]}',
  ' { "pdu_ids" : [ "$a" , "$b\\u0041" ] , "n" : -1.5e3 , "event" : { "x" : null } } ',
  '{}',
  '{"pdus":["日本😀",{"é":"\\ud83d\\ude00"}]}',
].map((text) => Buffer.from(text));

/** What came out, as text, or the error that ended it. */
function split(input: Buffer, chunkBytes: () => number): string {
  const out: string[] = [];
  const splitter = new ResponseSplitter({
    arrays: ARRAYS,
    element: (field, bytes) => out.push(`element ${field} ${bytes.toString('latin1')}`),
    member: (field, value) => out.push(`member ${field} ${JSON.stringify(value)}`),
    oversized: (field) => out.push(`oversized ${field}`),
  });
  try {
    for (let at = 0; at < input.length; ) {
      const end = Math.min(input.length, at + chunkBytes());
      splitter.push(Buffer.from(input.subarray(at, end)));
      at = end;
    }
    splitter.end();
  } catch (error) {
    if (!(error instanceof SplitError)) throw error;
    out.push('error');
  }
  return out.join('\n');
}

function parsed(input: Buffer): JsonValue | undefined {
  try {
    return JSON.parse(input.toString('utf8')) as JsonValue;
  } catch {
    // Not JSON: then the splitter may refuse it or leave that to whoever parses the elements.
    return undefined;
  }
}

export const splitResponse: FuzzTarget = {
  name: 'split-response',
  makeInput: (random: Random) => mutateBytes(random, random.pick(CORPUS), CORPUS),
  check: (input, random) => {
    const whole = split(input, () => input.length);
    const size = 1 + random.below(9);
    mustHold(split(input, () => size) === whole, `the same answer in chunks of ${size}`);
    mustHold(split(input, () => 1 + random.below(30)) === whole, 'the same answer in chunks of any size');
    const value = parsed(input);
    if (value !== undefined && !isJsonObject(value)) mustHold(whole === 'error', 'only objects are let through');
    const isWhole = !whole.endsWith('error') && !whole.includes('oversized');
    if (isJsonObject(value) && isWhole) {
      const elements = Object.entries(value).flatMap(([name, list]) => (ARRAYS.has(name) ? (list as JsonValue[]) : []));
      const found = whole.split('\n').filter((line) => line.startsWith('element ')).length;
      mustHold(found === elements.length, `all ${elements.length} elements, not ${found}`);
    }
  },
};
