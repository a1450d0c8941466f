/**
 * Walks JSON bytes that are canonical already and says where a value ends: the fast path of hashing, since what is
 * canonical as received need not be parsed and written again.
 *
 * Accepts less than canonical JSON (short escapes and integers of at most 15 digits only, 32 levels): whatever it does not
 * know is "not canonical here" and goes the slow way, through parse-json.ts and canonical-json.ts. What it accepts is equal,
 * byte for byte, to what those make of it. The bytes must be UTF-8. Specification v1.19, appendices, "Canonical JSON".
 */

/** Not canonical, or not known to be. */
export const NOT_CANONICAL = -1;

/** Nesting that is walked; real events have a handful of levels. */
const DEPTH_MAX = 32;
/** Digits of an integer that is surely within 2^53 - 1. */
export const SURE_DIGITS_MAX = 15;

export const QUOTE = 0x22;
export const COMMA = 0x2c;
export const COLON = 0x3a;
export const OPEN_BRACE = 0x7b;
export const CLOSE_BRACE = 0x7d;
export const OPEN_BRACKET = 0x5b;
export const CLOSE_BRACKET = 0x5d;
const BACKSLASH = 0x5c;
const MINUS = 0x2d;
const ZERO = 0x30;
const NINE = 0x39;

/** Bytes at which a walk through a string stops: quote, backslash, control characters. */
const STOPS = new Uint8Array(256);
STOPS.fill(1, 0, 0x20);
STOPS[QUOTE] = 1;
STOPS[BACKSLASH] = 1;

/** What may follow a backslash in canonical JSON, but for `u`. */
const SHORT_ESCAPES = new Uint8Array(256);
for (const character of '"\\bfnrt') SHORT_ESCAPES[character.charCodeAt(0)] = 1;

/** Index just past the closing quote of the string whose content starts at `at`; no escapes allowed. */
export function plainStringEnd(bytes: Uint8Array, at: number, end: number): number {
  let i = at;
  while (i < end && STOPS[bytes[i] as number] === 0) i += 1;
  return i < end && bytes[i] === QUOTE ? i + 1 : NOT_CANONICAL;
}

function stringEnd(bytes: Uint8Array, at: number, end: number): number {
  for (let i = at; i < end; ) {
    if (STOPS[bytes[i] as number] === 0) {
      i += 1;
    } else if (bytes[i] === QUOTE) {
      return i + 1;
    } else if (bytes[i] === BACKSLASH && i + 1 < end && SHORT_ESCAPES[bytes[i + 1] as number] === 1) {
      i += 2;
    } else {
      return NOT_CANONICAL;
    }
  }
  return NOT_CANONICAL;
}

/** Index just past the integer that starts at `at`. */
export function integerEnd(bytes: Uint8Array, at: number, end: number): number {
  const first = bytes[at] === MINUS ? at + 1 : at;
  let i = first;
  while (i < end && (bytes[i] as number) >= ZERO && (bytes[i] as number) <= NINE) i += 1;
  const digits = i - first;
  if (digits === 0 || digits > SURE_DIGITS_MAX) return NOT_CANONICAL;
  // No leading zero, and no minus zero.
  if (bytes[first] === ZERO && (digits > 1 || first > at)) return NOT_CANONICAL;
  return i;
}

const LITERALS = ['true', 'false', 'null'].map((word) => Buffer.from(word, 'latin1'));

function literalEnd(bytes: Uint8Array, at: number, end: number): number {
  for (const word of LITERALS) {
    if (bytes[at] !== word[0]) continue;
    if (at + word.length > end) return NOT_CANONICAL;
    for (let i = 1; i < word.length; i++) if (bytes[at + i] !== word[i]) return NOT_CANONICAL;
    return at + word.length;
  }
  return NOT_CANONICAL;
}

/** Negative, zero or positive as the bytes from `a` stand before, at or after those from `b`: code point order in UTF-8. */
export function compareBytes(bytes: Uint8Array, a: number, aEnd: number, b: number, bEnd: number): number {
  const length = Math.min(aEnd - a, bEnd - b);
  for (let i = 0; i < length; i++) {
    const difference = (bytes[a + i] as number) - (bytes[b + i] as number);
    if (difference !== 0) return difference;
  }
  return aEnd - a - (bEnd - b);
}

/** Index just past the value that starts at `at`, or NOT_CANONICAL. */
export function valueEnd(bytes: Uint8Array, at: number, end: number, depth = 1): number {
  if (at >= end) return NOT_CANONICAL;
  const first = bytes[at] as number;
  if (first === QUOTE) return stringEnd(bytes, at + 1, end);
  if (first === OPEN_BRACE) return depth > DEPTH_MAX ? NOT_CANONICAL : objectEnd(bytes, at, end, depth);
  if (first === OPEN_BRACKET) return depth > DEPTH_MAX ? NOT_CANONICAL : arrayEnd(bytes, at, end, depth);
  if (first === MINUS || (first >= ZERO && first <= NINE)) return integerEnd(bytes, at, end);
  return literalEnd(bytes, at, end);
}

function arrayEnd(bytes: Uint8Array, at: number, end: number, depth: number): number {
  if (bytes[at + 1] === CLOSE_BRACKET) return at + 2;
  for (let i = at + 1; ; ) {
    i = valueEnd(bytes, i, end, depth + 1);
    if (i === NOT_CANONICAL || i >= end) return NOT_CANONICAL;
    if (bytes[i] === CLOSE_BRACKET) return i + 1;
    if (bytes[i] !== COMMA) return NOT_CANONICAL;
    i += 1;
  }
}

/** Strictly ascending keys: sorted, and none twice. */
function objectEnd(bytes: Uint8Array, at: number, end: number, depth: number): number {
  if (bytes[at + 1] === CLOSE_BRACE) return at + 2;
  let lastKey = -1;
  let lastKeyEnd = -1;
  for (let i = at + 1; ; i++) {
    if (bytes[i] !== QUOTE) return NOT_CANONICAL;
    const key = i + 1;
    i = plainStringEnd(bytes, key, end);
    if (i === NOT_CANONICAL || bytes[i] !== COLON) return NOT_CANONICAL;
    if (lastKey >= 0 && compareBytes(bytes, lastKey, lastKeyEnd, key, i - 1) >= 0) return NOT_CANONICAL;
    lastKey = key;
    lastKeyEnd = i - 1;
    i = valueEnd(bytes, i + 1, end, depth + 1);
    if (i === NOT_CANONICAL || i >= end) return NOT_CANONICAL;
    if (bytes[i] === CLOSE_BRACE) return i + 1;
    if (bytes[i] !== COMMA) return NOT_CANONICAL;
  }
}
