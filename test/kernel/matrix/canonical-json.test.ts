/** Canonical JSON against the specification's examples, its grammar, and two properties. */

import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import {
  CanonicalJsonError,
  canonicalJson,
  canonicalKeys,
  compareCodePoints,
} from '../../../src/kernel/matrix/canonical-json.js';
import type { JsonValue } from '../../../src/kernel/matrix/json.js';
import { CANONICAL_JSON_EXAMPLES } from '../../vectors/canonical-json-examples.js';

/** Any JSON value whose numbers are integers. */
const jsonValues = fc.letrec<{ value: JsonValue }>((tie) => ({
  value: fc.oneof(
    { maxDepth: 4 },
    fc.constantFrom<JsonValue>(null, true, false),
    fc.maxSafeInteger(),
    fc.string({ unit: 'binary' }),
    fc.array(tie('value'), { maxLength: 4 }),
    fc.dictionary(fc.string({ unit: 'binary', maxLength: 4 }), tie('value'), { maxKeys: 5 }),
  ),
})).value;

function reversedKeys(value: JsonValue): JsonValue {
  if (Array.isArray(value)) return (value as readonly JsonValue[]).map(reversedKeys);
  if (typeof value !== 'object' || value === null) return value;
  const entries = Object.entries(value).map(([key, inner]) => [key, reversedKeys(inner as JsonValue)] as const);
  return Object.fromEntries(entries.reverse());
}

function codeOf(value: JsonValue, strict = true): string {
  try {
    return canonicalJson(value, strict);
  } catch (error) {
    if (error instanceof CanonicalJsonError) return error.code;
    throw error;
  }
}

describe('canonical JSON', () => {
  it.each(CANONICAL_JSON_EXAMPLES)('encodes the example $text of the specification', ({ text, canonical }) => {
    expect(canonicalJson(JSON.parse(text) as JsonValue)).toBe(canonical);
  });

  it('sorts keys by Unicode code point, not by UTF-16 code unit', () => {
    expect(canonicalKeys({ '\u{1f600}': 1, '\uff5e': 2, z: 3 })).toEqual(['z', '\uff5e', '\u{1f600}']);
    expect(canonicalKeys({ 'a\u{10000}b': 1, 'a\uffffa': 2, a: 3 })).toEqual(['a', 'a\uffffa', 'a\u{10000}b']);
    expect(canonicalKeys({ b: 1, 10: 2, 9: 3, '': 4 })).toEqual(['', '10', '9', 'b']);
  });

  it('orders strings as their code points do', () => {
    const text = fc.string({ unit: 'binary', maxLength: 6 });
    fc.assert(
      fc.property(text, text, (a, b) => {
        const order = Buffer.compare(Buffer.from(a, 'utf8'), Buffer.from(b, 'utf8'));
        expect(Math.sign(compareCodePoints(a, b))).toBe(order);
      }),
    );
  });

  it('escapes control characters in the shortest form and nothing else', () => {
    expect(canonicalJson('\b\t\n\f\r"\\')).toBe('"\\b\\t\\n\\f\\r\\"\\\\"');
    expect(canonicalJson('\u0000\u0007\u000b\u001f\u007f/\u2028é😀')).toBe(
      '"\\u0000\\u0007\\u000b\\u001f\u007f/\u2028é😀"',
    );
  });

  it('refuses half of a surrogate pair in a string and in a key', () => {
    expect(codeOf('\ud800')).toBe('lone-surrogate');
    expect(codeOf({ 'a\udc00': 1 })).toBe('lone-surrogate');
    expect(codeOf('\ud800', false)).toBe('lone-surrogate');
  });

  it('refuses numbers that are not integers within the range, where the room version says so', () => {
    expect(codeOf(1.5)).toBe('not-an-integer');
    expect(codeOf(2 ** 53)).toBe('integer-out-of-range');
    expect(codeOf(-(2 ** 53))).toBe('integer-out-of-range');
    expect(codeOf([2 ** 53 - 1, -(2 ** 53) + 1])).toBe('[9007199254740991,-9007199254740991]');
    expect(codeOf([1.5, 2 ** 53], false)).toBe('[1.5,9007199254740992]');
  });

  it('never writes a negative zero', () => {
    expect(canonicalJson(-0)).toBe('0');
    expect(canonicalJson(-0, false)).toBe('0');
  });

  it('keeps a key called __proto__', () => {
    expect(canonicalJson(JSON.parse('{"a":1,"__proto__":{"b":2}}') as JsonValue)).toBe('{"__proto__":{"b":2},"a":1}');
  });

  it('is its own canonical form, and the value survives', () => {
    fc.assert(
      fc.property(jsonValues, (value) => {
        const text = canonicalJson(value);
        expect(canonicalJson(JSON.parse(text) as JsonValue)).toBe(text);
      }),
    );
  });

  it('is blind to the order of keys', () => {
    fc.assert(
      fc.property(jsonValues, (value) => {
        expect(canonicalJson(reversedKeys(value))).toBe(canonicalJson(value));
      }),
    );
  });
});
