/** The shared event index against a plain map. */

import { hash } from 'node:crypto';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { EventIndexBuilder, keyAt, positionOf } from '../../src/workers/event-index.js';

const keyOf = (number: number) => hash('sha256', String(number), 'buffer');

describe('the event index', () => {
  it('finds every key that was added at its position, and nothing else, while it grows', () => {
    const builder = new EventIndexBuilder(0x1234, 10);
    for (let i = 0; i < 5000; i++) {
      expect(builder.add(keyOf(i))).toBe(i);
      if (i % 500 === 0) expect(builder.add(keyOf(i >> 1))).toBe(i >> 1);
    }
    const index = builder.finish();
    expect(builder.count).toBe(5000);
    for (let i = 0; i < 5000; i++) {
      expect(positionOf(index, keyOf(i), 0)).toBe(i);
      if (i % 100 === 0) expect(keyAt(index, i)).toEqual(keyOf(i));
    }
    for (let i = 5000; i < 6000; i++) expect(positionOf(index, keyOf(i), 0)).toBe(-1);
    expect(index.nids.length).toBeGreaterThanOrEqual(5000);
    expect(index.slots.length).toBeGreaterThanOrEqual(2 * 5000);
  });

  it('tells keys apart that share a slot or differ in their last byte', () => {
    const alike = (last: number) => Buffer.concat([Buffer.alloc(31, 9), Buffer.from([last])]);
    fc.assert(
      fc.property(fc.uniqueArray(fc.nat(255), { minLength: 1 }), fc.nat(), (bytes, seed) => {
        const builder = new EventIndexBuilder(seed);
        bytes.forEach((byte, i) => {
          expect(builder.add(alike(byte))).toBe(i);
        });
        const index = builder.finish();
        for (let byte = 0; byte < 256; byte++) expect(positionOf(index, alike(byte), 0)).toBe(bytes.indexOf(byte));
      }),
    );
  });

  it('reads a key in the middle of other bytes', () => {
    const builder = new EventIndexBuilder(1);
    builder.add(keyOf(1));
    const bytes = Buffer.concat([Buffer.alloc(3), keyOf(1), Buffer.alloc(3)]);
    expect([positionOf(builder.finish(), bytes, 3), positionOf(builder.finish(), bytes, 0)]).toEqual([0, -1]);
  });
});
