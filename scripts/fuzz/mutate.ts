/**
 * Makes bad inputs of good ones: bytes flipped, lost, doubled, moved; tokens that parsers trip over put in; pieces of other
 * inputs; one piece repeated until the input is large. And JSON values with one part replaced.
 */

import type { JsonValue } from '../../src/kernel/matrix/json.js';
import { isJsonObject } from '../../src/kernel/matrix/json.js';
import type { Random } from '../hq/room/plan/random.js';

/** Largest input that mutation makes, in bytes: above the limit of an event, below what one run should take seconds for. */
export const INPUT_BYTES_MAX = 96 * 1024;
/** Most changes to one input. */
const CHANGES_MAX = 6;

const TOKENS = [
  ...['{', '}', '[', ']', '"', ':', ',', '\\', '\n', ' ', '\0', '\ufeff', '/', '=', '@', '$', '!', '#', '|', '&', '*'],
  ...[
    'null',
    'true',
    'false',
    '0',
    '-0',
    '1.0',
    '1e400',
    '-1e-400',
    '9007199254740993',
    '1e10',
    '01',
    '+1',
    '1.',
    '.5',
  ],
  ...['\\u0000', '\\ud800', '\\udc00', '\\uD83D\\uDE00', '\\u', '\\x', '\u{1f600}', '\uff5e', '\u2028'],
  ...['"__proto__":{}', '"constructor":1', '"a":1,"a":2', '"unsigned":{}', '"signatures":{}', '"hashes":{}'],
  ...[',"x":1', '[[', '{"a":', '"a"', ',,', '::', 'X-Matrix ', 'ed25519:', 'a.test', '[::1]', ':8448', 'é'],
];

/** `bytes` with up to CHANGES_MAX changes; `others` are inputs to take pieces of. */
export function mutateBytes(random: Random, bytes: Buffer, others: readonly Buffer[]): Buffer {
  let mutated = bytes;
  for (let changes = random.below(CHANGES_MAX + 1); changes > 0; changes--) {
    mutated = changeBytes(random, mutated, others).subarray(0, INPUT_BYTES_MAX);
  }
  return mutated;
}

function changeBytes(random: Random, bytes: Buffer, others: readonly Buffer[]): Buffer {
  const at = random.below(bytes.length + 1);
  const end = Math.min(bytes.length, at + random.below(random.chance(0.5) ? 4 : 60));
  const put = (piece: Buffer, from = at, until = at) =>
    Buffer.concat([bytes.subarray(0, from), piece, bytes.subarray(until)]);
  switch (random.below(8)) {
    case 0: {
      const copy = Buffer.from(bytes);
      if (at < copy.length) copy[at] = (copy[at] as number) ^ (1 << random.below(8));
      return copy;
    }
    case 1:
      return put(Buffer.from([random.below(256)]));
    case 2:
      return put(Buffer.alloc(0), at, end);
    case 3:
      return put(bytes.subarray(at, end));
    case 4:
      return put(Buffer.from(random.pick(TOKENS)), at, random.chance(0.5) ? end : at);
    case 5: {
      const other = random.pick(others);
      const start = random.below(other.length + 1);
      return put(other.subarray(start, start + random.below(80)), at, end);
    }
    case 6: {
      const piece = random.chance(0.5) ? Buffer.from(random.pick(TOKENS)) : bytes.subarray(at, end);
      const times = random.chance(0.1) ? 20_000 : random.below(40);
      return put(Buffer.concat(Array.from({ length: Math.min(times, INPUT_BYTES_MAX) }, () => piece)));
    }
    default:
      return bytes.subarray(0, at);
  }
}

const ODD_VALUES: readonly JsonValue[] = [
  ...[null, true, false, 0, -1, 1.5, -0, 2 ** 53, -(2 ** 53), 1e300, 2 ** 63, 255, 256],
  ...['', ' ', 'x', '@a:a.test', '@é:a.test', '!r', '$e', '\0', '"\\', '\u{1f600}', '\uff5e', '__proto__', '1e5', '-0'],
  ...['a'.repeat(255), 'é'.repeat(128), 'é'.repeat(255), '😀'.repeat(255), 'a'.repeat(256)],
  ...[[], {}, [[]], [{}], { a: 1 }, { '': {} }, [null, 1, 'x'], { signed: {} }, [['$a:a.test', { sha256: 'x' }]]],
];

/** `value` with one part of it replaced, left out or added. */
export function mutateJson(random: Random, value: JsonValue): JsonValue {
  if (random.chance(0.15)) return random.pick(ODD_VALUES);
  if (Array.isArray(value)) {
    const items = [...(value as readonly JsonValue[])];
    const at = random.below(items.length + 1);
    if (at === items.length || random.chance(0.2)) items.splice(at, 0, random.pick(ODD_VALUES));
    else if (random.chance(0.15)) items.splice(at, 1);
    else items[at] = mutateJson(random, items[at] as JsonValue);
    return items;
  }
  if (!isJsonObject(value)) return random.pick(ODD_VALUES);
  const entries = Object.entries(value) as [string, JsonValue][];
  const at = random.below(entries.length + 1);
  const entry = entries[at];
  if (entry === undefined || random.chance(0.1))
    entries.push([String(random.pick(ODD_VALUES)), random.pick(ODD_VALUES)]);
  else if (random.chance(0.15)) entries.splice(at, 1);
  else entries[at] = [entry[0], mutateJson(random, entry[1])];
  return Object.fromEntries(entries);
}
