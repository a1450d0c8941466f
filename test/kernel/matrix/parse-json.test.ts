/** Parsing that refuses whatever `JSON.parse` would silently change. */

import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { JSON_DEPTH_MAX } from '../../../src/kernel/matrix/limits.js';
import { parseJson, parseJsonObject } from '../../../src/kernel/matrix/parse-json.js';

function outcome(text: string, integersOnly = true): unknown {
  const parsed = parseJson(text, integersOnly);
  return parsed.ok ? parsed.value : parsed.code;
}

describe('parsing JSON', () => {
  it('refuses a key that stands twice in one object, at any level and however it is escaped', () => {
    expect(outcome('{"a":1,"a":1}')).toBe('duplicate-key');
    expect(outcome('{"b":[{"a":1 , "a" : 2}]}')).toBe('duplicate-key');
    expect(outcome(String.raw`{"a":1,"\u0061":2}`)).toBe('duplicate-key');
    expect(outcome('{"a":1,"a":2}', false)).toBe('duplicate-key');
    expect(outcome('{"__proto__":1,"__proto__":2}')).toBe('duplicate-key');
  });

  it('lets one key stand in many objects', () => {
    const text = '{"a":{"a":{"a":1}},"b":[{"a":1},{"a":2}]}';
    expect(outcome(text)).toEqual(JSON.parse(text));
  });

  it('is not misled by keys and strings that look like structure', () => {
    for (const value of [{ '":': 1, a: '":', 'b"\\': '{"a":1,"a":1}' }, ['1.0', ':-0', ',1e3', '\\', '"']]) {
      expect(outcome(JSON.stringify(value))).toEqual(value);
    }
    expect(outcome(String.raw`{"x\":1.5":2}`)).toEqual({ 'x":1.5': 2 });
    expect(outcome(String.raw`{"a\\":1,"a\\":2}`)).toBe('duplicate-key');
  });

  it('refuses numbers with fraction, exponent or a minus before zero where integers are asked for', () => {
    for (const number of ['1.0', '1e3', '1E3', '-0', '0.5', '-1.5', '1e400', '0e0', '-0.0']) {
      expect(outcome(`{"a":${number}}`), number).toBe('not-an-integer');
      expect(outcome(`[1, ${number}]`), number).toBe('not-an-integer');
      expect(outcome(`[\n${number}]`), number).toBe('not-an-integer');
      expect(outcome(number), number).toBe('not-an-integer');
    }
    // The longest of numbers can have the smallest of values.
    for (const zeros of [399, 400, 500]) {
      expect(outcome(`{"a":1${'0'.repeat(zeros)}e-${zeros}}`)).toBe('not-an-integer');
    }
    expect(outcome('{"a":[0,-1,10,9007199254740991]}')).toEqual({ a: [0, -1, 10, 9007199254740991] });
  });

  it('takes any number where integers are not asked for', () => {
    expect(outcome('{"a":[1.5,1e3,-0]}', false)).toEqual({ a: [1.5, 1000, -0] });
  });

  it('refuses nesting beyond its limit and takes nesting at it', () => {
    const nested = (depth: number) => '['.repeat(depth) + ']'.repeat(depth);
    expect(parseJson(nested(JSON_DEPTH_MAX), true).ok).toBe(true);
    expect(outcome(nested(JSON_DEPTH_MAX + 1))).toBe('too-deep');
    expect(outcome(`${'{"a":'.repeat(JSON_DEPTH_MAX + 1)}1${'}'.repeat(JSON_DEPTH_MAX + 1)}`)).toBe('too-deep');
    expect(outcome(nested(100_000))).toBe('too-deep');
  });

  it('refuses what is not JSON, or not an object where one is asked for', () => {
    for (const text of ['', '{', '{"a":1,}', '\ufeff{}', 'NaN', "{'a':1}"]) expect(outcome(text)).toBe('not-json');
    for (const text of ['[]', 'null', '"a"', '1']) {
      expect(parseJsonObject(text, true)).toMatchObject({ ok: false, code: 'not-json' });
    }
  });

  it('gives what JSON.parse gives for everything that JSON.stringify writes of integers', () => {
    fc.assert(
      fc.property(fc.jsonValue({ noUnicodeString: false }), (value) => {
        const text = JSON.stringify(
          value,
          (_key, inner) => (typeof inner === 'number' ? Math.trunc(inner) % 1e9 || 0 : inner),
          1,
        );
        expect(outcome(text)).toEqual(JSON.parse(text));
      }),
    );
  });

  it('finds any one key that is doubled', () => {
    const keys = fc.uniqueArray(fc.string({ maxLength: 5 }), { minLength: 1, maxLength: 6 });
    fc.assert(
      fc.property(keys, fc.nat(), (names, pick) => {
        const members = [...names, names[pick % names.length]].map((name) => `${JSON.stringify(name)}:{"x":1}`);
        expect(outcome(`{"outer":{${members.join(',')}}}`)).toBe('duplicate-key');
      }),
    );
  });
});
