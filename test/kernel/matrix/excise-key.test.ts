/** Cutting one member out of JSON text, every other character kept. */

import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { withoutTopLevelKey } from '../../../src/kernel/matrix/excise-key.js';

const cut = (text: string) => withoutTopLevelKey(text, 'unsigned');

describe('cutting out a member', () => {
  it('cuts it where it is the first, a middle, the last or the only one', () => {
    expect(cut('{"unsigned":{"a":1},"b":2,"c":3}')).toBe('{"b":2,"c":3}');
    expect(cut('{"b":2,"unsigned":[1,2],"c":3}')).toBe('{"b":2,"c":3}');
    expect(cut('{"b":2,"c":3,"unsigned":"x"}')).toBe('{"b":2,"c":3}');
    expect(cut('{"unsigned":null}')).toBe('{}');
  });

  it('leaves white space and escapes of the other members as they were', () => {
    expect(cut('{ "b" : 1.0 ,\n "unsigned" : { } ,\t"c":"\\u0041" }')).toBe('{ "b" : 1.0 ,\t"c":"\\u0041" }');
    expect(JSON.parse(cut(' { "unsigned" : 1 , "b" : 2 } '))).toEqual({ b: 2 });
  });

  it('knows the key when it is escaped', () => {
    expect(cut(String.raw`{"a":1,"\u0075nsigned":2}`)).toBe('{"a":1}');
    expect(cut(String.raw`{"a":1,"unsigned\\":2}`)).toBe(String.raw`{"a":1,"unsigned\\":2}`);
  });

  it('leaves keys and strings of the same name elsewhere alone', () => {
    for (const text of [
      '{"content":{"unsigned":1},"a":[{"unsigned":2}]}',
      '{"a":"unsigned","b":["unsigned"]}',
      String.raw`{"a":"\",\"unsigned\":1,","b":2}`,
      String.raw`{"a":"\\","b":"}"}`,
    ]) {
      expect(cut(text)).toBe(text);
    }
  });

  it('gives the same value as deleting the key after parsing', () => {
    const names = fc.uniqueArray(fc.oneof(fc.constant('unsigned'), fc.string({ unit: 'binary', maxLength: 6 })), {
      maxLength: 6,
    });
    const space = fc.constantFrom('', ' ', '\n', '\t ');
    fc.assert(
      fc.property(names, fc.array(fc.jsonValue(), { minLength: 6, maxLength: 6 }), space, (keys, values, gap) => {
        const members = keys.map((key, i) => `${JSON.stringify(key)}${gap}:${gap}${JSON.stringify(values[i])}${gap}`);
        const text = `{${gap}${members.join(`,${gap}`)}}`;
        const { unsigned: _, ...rest } = JSON.parse(text) as Record<string, unknown>;
        expect(JSON.parse(cut(text))).toEqual(rest);
      }),
    );
  });
});
