/** Splitting a response into its PDUs: whatever the chunks, the same elements as `JSON.parse` gives. */

import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { JsonValue } from '../../src/kernel/matrix/json.js';
import {
  ELEMENT_BYTES_MAX,
  MEMBER_BYTES_MAX,
  MEMBERS_MAX,
  ResponseSplitter,
  SplitError,
} from '../../src/remote/split-response.js';

const ARRAYS = new Set(['pdus', 'auth_chain', 'pdu_ids']);

interface Split {
  readonly elements: Record<string, unknown[]>;
  readonly members: Record<string, JsonValue>;
  readonly oversized: string[];
}

/** Feeds `bytes` in chunks whose sizes repeat in turn. */
function split(bytes: Buffer, sizes: readonly number[] = [bytes.length || 1]): Split {
  const result: Split = { elements: {}, members: {}, oversized: [] };
  const splitter = new ResponseSplitter({
    arrays: ARRAYS,
    element: (field, element) => {
      result.elements[field] ??= [];
      result.elements[field].push(JSON.parse(element.toString('utf8')));
    },
    member: (field, value) => {
      result.members[field] = value;
    },
    oversized: (field) => result.oversized.push(field),
  });
  for (let at = 0, turn = 0; at < bytes.length; turn++) {
    const size = sizes[turn % sizes.length] as number;
    // The bytes are the splitter's during the call only: the next chunk comes in the same memory.
    const chunk = Buffer.from(bytes.subarray(at, at + size));
    splitter.push(chunk);
    chunk.fill(0x21);
    at += size;
  }
  splitter.end();
  return result;
}

const splitText = (text: string, sizes?: readonly number[]) => split(Buffer.from(text, 'utf8'), sizes);

const texts = fc.oneof(
  fc.string({ unit: 'binary' }),
  fc.constantFrom('\\', '"', '\\"', '}', ']', '{"a":[', '\\\\"', ',', '日本😀'),
);
const objects = fc.dictionary(texts, fc.oneof(texts, fc.jsonValue()), { maxKeys: 4 });

describe('splitting a response', () => {
  it('gives the elements that JSON.parse gives, whatever the chunks and the white space', () => {
    const lists = fc.array(fc.oneof(objects, texts), { maxLength: 6 });
    const others = fc.dictionary(fc.constantFrom('origin', 'members_omitted', 'event', 'x"\\'), fc.jsonValue());
    const sizes = fc.array(fc.integer({ min: 1, max: 40 }), { minLength: 1, maxLength: 6 });
    fc.assert(
      fc.property(
        lists,
        lists,
        others,
        sizes,
        fc.constantFrom(undefined, 1, '\t'),
        fc.boolean(),
        (pdus, chain, rest, chunks, gap, first) => {
          const body = first ? { pdus, ...rest, auth_chain: chain } : { ...rest, auth_chain: chain, pdus };
          const text = JSON.stringify(body, undefined, gap);
          const found = splitText(text, chunks);
          const parsed = JSON.parse(text) as Record<string, unknown>;
          expect(found.elements.pdus ?? []).toEqual(parsed.pdus);
          expect(found.elements.auth_chain ?? []).toEqual(parsed.auth_chain);
          const { pdus: _pdus, auth_chain: _chain, ...members } = parsed;
          expect(found.members).toEqual(members);
        },
      ),
      { numRuns: 300 },
    );
  });

  it('gives the same elements byte by byte as at once', () => {
    const text = String.raw`{"a":1.5,"pdus":[{"k":"\\"},{"k":"\"}]"},{}, "s\u0041" ],"b":[true,{"c":null}],"t":"\\\"" , "n":-0}`;
    expect(splitText(text, [1])).toEqual(splitText(text));
    expect(splitText(text).elements.pdus).toEqual([{ k: '\\' }, { k: '"}]' }, {}, 'sA']);
    expect(splitText(text).members).toEqual({ a: 1.5, b: [true, { c: null }], t: '\\"', n: -0 });
  });

  it('takes empty objects and lists, and fields in any order', () => {
    expect(splitText('{}')).toEqual({ elements: {}, members: {}, oversized: [] });
    expect(splitText(' { "pdus" : [ ] } \n').elements).toEqual({});
    expect(splitText('{"auth_chain":["$a"],"origin":"x","pdus":[{}]}').elements).toEqual({
      auth_chain: ['$a'],
      pdus: [{}],
    });
  });

  it('refuses a field that stands twice', () => {
    expect(() => splitText('{"pdus":[],"pdus":[]}')).toThrow(SplitError);
    expect(() => splitText(String.raw`{"a":1,"\u0061":2}`)).toThrow(/stands twice/);
  });

  it('refuses a response that was cut short anywhere', () => {
    const bytes = Buffer.from('{"origin":"x","pdus":[{"a":"\\""},"$b"],"n":12}', 'utf8');
    for (let length = 0; length < bytes.length; length++) {
      expect(() => split(bytes.subarray(0, length)), String(length)).toThrow(SplitError);
      expect(() => split(bytes.subarray(0, length), [3]), String(length)).toThrow(SplitError);
    }
  });

  it.each([
    '[]',
    'null',
    '{"a"}',
    '{"a" 1}',
    '{a:1}',
    '{"a":1,}',
    '{"a":1 "b":2}',
    '{"a":tru}',
    '{"a":}',
    '{"pdus":{}}',
    '{"pdus":null}',
    '{"pdus":[1]}',
    '{"pdus":[null]}',
    '{"pdus":[{},]}',
    '{"pdus":[{} {}]}',
    '{"pdus":[[]]}',
    '{"pdus":[}',
    '{} x',
    '{}{}',
    ',',
    '{"a":"\n"}',
    `{"${'k'.repeat(2000)}":1}`,
  ])('refuses %s', (text) => {
    expect(() => splitText(text)).toThrow(SplitError);
    expect(() => splitText(text, [1])).toThrow(SplitError);
  });

  it('leaves an oversized element out and goes on with the next', () => {
    const element = (bytes: number) => JSON.stringify({ x: 'a'.repeat(bytes - 8) });
    const text = `{"pdus":[${element(ELEMENT_BYTES_MAX)},${element(ELEMENT_BYTES_MAX + 1)},{"ok":1}],"a":1}`;
    for (const sizes of [[text.length], [65_536], [1000, 7]]) {
      const found = splitText(text, sizes);
      expect(found.oversized).toEqual(['pdus']);
      expect(found.elements.pdus?.length).toBe(2);
      expect(found.elements.pdus?.[1]).toEqual({ ok: 1 });
      expect(found.members).toEqual({ a: 1 });
    }
  });

  it('leaves an oversized member out', () => {
    const found = splitText(`{"big":"${'a'.repeat(MEMBER_BYTES_MAX)}","pdus":[{}]}`, [50_000]);
    expect(found).toEqual({ elements: { pdus: [{}] }, members: {}, oversized: [] });
  });

  it('keeps no more than the limit of an element that never ends', () => {
    let oversized = 0;
    const splitter = new ResponseSplitter({
      arrays: ARRAYS,
      element: () => {},
      member: () => {},
      oversized: () => {
        oversized += 1;
      },
    });
    splitter.push(Buffer.from('{"pdus":[{"x":"'));
    const before = process.memoryUsage().arrayBuffers;
    const chunk = Buffer.alloc(1024 * 1024, 0x61);
    for (let i = 0; i < 64; i++) splitter.push(chunk);
    expect(process.memoryUsage().arrayBuffers - before).toBeLessThan(8 * 1024 * 1024);
    splitter.push(Buffer.from('"}]}'));
    splitter.end();
    expect(oversized).toBe(1);
  });

  it('takes so many top-level members and no more', () => {
    const members = (count: number) => Array.from({ length: count }, (_, i) => `"m${i}":${i}`).join(',');
    expect(Object.keys(splitText(`{${members(MEMBERS_MAX)}}`).members).length).toBe(MEMBERS_MAX);
    expect(() => splitText(`{${members(MEMBERS_MAX + 1)}}`)).toThrow(/more than 1024 top-level members/);
  });

  it('needs no more memory for a member that comes byte by byte', () => {
    const splitter = new ResponseSplitter({
      arrays: ARRAYS,
      element: () => undefined,
      member: (_field, value) => expect((value as string).length).toBe(MEMBER_BYTES_MAX - 2),
      oversized: () => undefined,
    });
    splitter.push(Buffer.from('{"m":"'));
    const chunk = Buffer.from('x');
    const before = process.memoryUsage();
    for (let i = 0; i < MEMBER_BYTES_MAX - 2; i++) splitter.push(chunk);
    const after = process.memoryUsage();
    const more = after.heapUsed + after.arrayBuffers - before.heapUsed - before.arrayBuffers;
    // Doubling leaves garbage of twice the size; a buffer for each byte took 100 times.
    expect(more).toBeLessThan(32 * MEMBER_BYTES_MAX);
    splitter.push(Buffer.from('"}'));
    splitter.end();
  });
});
