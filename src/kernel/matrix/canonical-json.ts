/**
 * Canonical JSON: the one byte form of a value that is hashed and signed. Keys in code point order, no white space,
 * shortest escapes, integers only where the room version says so. Not RFC 8785, which orders by UTF-16 and has floats.
 *
 * Takes values that `JSON.parse` made; what parsing already lost (duplicate keys, `1.0`) is parse-json.ts's to refuse.
 * Where numbers have to survive as they were sent (room versions 1 to 5), old-versions/exact-numbers.ts made the value.
 * Specification v1.19, appendices, "Canonical JSON".
 */

import type { JsonObject, JsonValue } from './json.js';
import { canonicalToken, ExactNumber } from './old-versions/exact-numbers.js';

/** Why a value has no canonical form. */
export type CanonicalJsonCode = 'not-an-integer' | 'integer-out-of-range' | 'lone-surrogate' | 'not-json';

export class CanonicalJsonError extends Error {
  readonly code: CanonicalJsonCode;
  constructor(code: CanonicalJsonCode, message: string) {
    super(message);
    this.name = 'CanonicalJsonError';
    this.code = code;
  }
}

// biome-ignore lint/suspicious/noControlCharactersInRegex: these are the characters JSON must escape
const NEEDS_CARE = /[\u0000-\u001f"\\\ud800-\udfff]/;
/** Below this no UTF-16 code unit differs in order from its code point. */
const FIRST_SURROGATE = /[\ud800-\uffff]/;

/** `text` as a canonical JSON string, quotes included. Throws `lone-surrogate`. */
export function canonicalString(text: string): string {
  if (!NEEDS_CARE.test(text)) return `"${text}"`;
  if (!text.isWellFormed()) throw new CanonicalJsonError('lone-surrogate', 'a string has half of a surrogate pair');
  return JSON.stringify(text);
}

function canonicalNumber(value: number, strict: boolean): string {
  if (Number.isSafeInteger(value)) return Object.is(value, -0) ? '0' : String(value);
  if (strict) {
    if (Number.isInteger(value)) throw new CanonicalJsonError('integer-out-of-range', `${value} is beyond 2^53 - 1`);
    throw new CanonicalJsonError('not-an-integer', `${value} is not an integer`);
  }
  return exactNumber(JSON.stringify(value));
}

function exactNumber(token: string): string {
  const text = token === 'null' ? undefined : canonicalToken(token);
  if (text !== undefined) return text;
  throw new CanonicalJsonError('integer-out-of-range', `a number is beyond what a double holds`);
}

/** Negative, zero or positive as `a` stands before, at or after `b` in code point order. */
export function compareCodePoints(a: string, b: string): number {
  if (a === b) return 0;
  if (!FIRST_SURROGATE.test(a) || !FIRST_SURROGATE.test(b)) return a < b ? -1 : 1;
  const length = Math.min(a.length, b.length);
  for (let i = 0; i < length; i++) {
    if (a.charCodeAt(i) !== b.charCodeAt(i)) return (a.codePointAt(i) ?? 0) - (b.codePointAt(i) ?? 0);
  }
  return a.length - b.length;
}

/** The keys of `object` in canonical order. */
export function canonicalKeys(object: JsonObject): string[] {
  const keys = Object.keys(object);
  for (let i = 1; i < keys.length; i++) {
    const before = keys[i - 1] as string;
    const key = keys[i] as string;
    if (before >= key || FIRST_SURROGATE.test(key)) return keys.sort(compareCodePoints);
  }
  return keys;
}

/**
 * `value` as canonical JSON text (encode it as UTF-8 to hash or sign it).
 * `strict`: numbers other than integers within ±(2^53 - 1) throw (room versions 6+, and everything outside rooms).
 * Throws CanonicalJsonError.
 */
export function canonicalJson(value: JsonValue, strict = true): string {
  if (typeof value === 'string') return canonicalString(value);
  if (typeof value === 'number') return canonicalNumber(value, strict);
  if (typeof value === 'boolean') return value ? 'true' : 'false';
  if (value === null) return 'null';
  if (Array.isArray(value)) return canonicalArray(value as readonly JsonValue[], strict);
  if (!strict && value instanceof ExactNumber) return exactNumber(value.token);
  if (typeof value === 'object') return canonicalObject(value as JsonObject, strict);
  throw new CanonicalJsonError('not-json', `a ${typeof value} has no JSON form`);
}

function canonicalArray(values: readonly JsonValue[], strict: boolean): string {
  let text = '[';
  for (let i = 0; i < values.length; i++) {
    if (i > 0) text += ',';
    text += canonicalJson(values[i] as JsonValue, strict);
  }
  return `${text}]`;
}

function canonicalObject(object: JsonObject, strict: boolean): string {
  let text = '{';
  for (const key of canonicalKeys(object)) {
    const value = object[key];
    if (value === undefined) continue;
    if (text.length > 1) text += ',';
    text += `${canonicalString(key)}:${canonicalJson(value, strict)}`;
  }
  return `${text}}`;
}
