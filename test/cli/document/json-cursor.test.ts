/** The walk over a document: it accepts what JSON.parse accepts, and says where what it refuses is wrong. */

import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { JsonCursor, JsonPlaceError } from '../../../src/cli/document/json-cursor.js';

/** Undefined where the text is JSON, else the offset of what is wrong. */
function wrongAt(text: string): number | undefined {
  const cursor = new JsonCursor(Buffer.from(text, 'utf8'));
  try {
    cursor.skipValue();
    cursor.expectEnd();
    return undefined;
  } catch (error) {
    if (error instanceof JsonPlaceError) return error.offset;
    throw error;
  }
}

function isJson(text: string): boolean {
  try {
    JSON.parse(text);
    return true;
  } catch {
    return false;
  }
}

describe('JsonCursor', () => {
  it('accepts every value that JSON.stringify writes, with and without white space', () => {
    fc.assert(
      fc.property(fc.jsonValue({ maxDepth: 6 }), (value) => {
        expect(wrongAt(JSON.stringify(value))).toBeUndefined();
        expect(wrongAt(` ${JSON.stringify(value, null, '\t')}\r\n`)).toBeUndefined();
      }),
      { numRuns: 300, seed: 1 },
    );
  });

  it('agrees with JSON.parse about text made of the characters of JSON', () => {
    const unit = fc.constantFrom(...'{}[]:,"\\u09+-.eE1 \n', 'true', 'false', 'null', '\\n', '\\u00e9', 'å', '\u0001');
    fc.assert(
      fc.property(fc.string({ unit, maxLength: 14 }), (text) => {
        expect(wrongAt(text) === undefined).toBe(isJson(text));
      }),
      { numRuns: 20_000, seed: 2 },
    );
  });

  it.each([
    ['{"a":1,}', 7],
    ['{"a" 1}', 5],
    ['[1 2]', 3],
    ['[01]', 1],
    ['["a\nb"]', 3],
    ['["\\x"]', 2],
    ['"abc', 4],
    ['{} {}', 3],
    ['', 0],
  ])('says where %j is wrong', (text, offset) => {
    expect(wrongAt(text)).toBe(offset);
  });

  it('steps over nesting of any depth', () => {
    const depth = 200_000;
    expect(wrongAt('['.repeat(depth) + ']'.repeat(depth))).toBeUndefined();
    expect(wrongAt('['.repeat(depth) + ']'.repeat(depth - 1))).toBe(2 * depth - 1);
  });
});
