/** State map keys, the order of event IDs, the heap, and the division of state sets. */

import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { compareCodePoints } from '../../../src/kernel/matrix/canonical-json.js';
import type { EventId } from '../../../src/kernel/matrix/ids.js';
import { BinaryHeap } from '../../../src/kernel/state-res/binary-heap.js';
import { splitStateSets } from '../../../src/kernel/state-res/split-state-sets.js';
import { splitStateKey, stateKeyOf } from '../../../src/kernel/state-res/state-map.js';

const text = fc.string({ unit: fc.constantFrom('a', 'b', '\0', '\u0001', '0', '1') });

describe('the key of a state map', () => {
  it('is type, NUL, state_key', () => {
    expect(stateKeyOf('m.room.member', '@a:b')).toBe('m.room.member\0@a:b');
  });
  it('gives the pair back, whatever characters it has', () => {
    fc.assert(
      fc.property(text, text, (type, stateKey) => {
        expect(splitStateKey(stateKeyOf(type, stateKey))).toEqual([type, stateKey]);
      }),
    );
  });
});

describe('the order of event IDs', () => {
  it('is by code point, not by UTF-16 unit', () => {
    expect(compareCodePoints('\u{1f600}', '\uffff')).toBeGreaterThan(0);
    expect('\u{1f600}' < '\uffff').toBe(true);
    expect(['$b', '$Z', '$a', '$', '$-', '$_'].sort(compareCodePoints)).toEqual(['$', '$-', '$Z', '$_', '$a', '$b']);
  });
  it('agrees with the order of the code points of any text', () => {
    const codePoints = (value: string) => [...value].map((char) => char.codePointAt(0)!);
    fc.assert(
      fc.property(fc.string({ unit: 'binary' }), fc.string({ unit: 'binary' }), (a, b) => {
        const [pointsA, pointsB] = [codePoints(a), codePoints(b)];
        const at = pointsA.findIndex((point, index) => point !== pointsB[index]);
        const expected = at < 0 ? a.length - b.length : pointsA[at]! - (pointsB[at] ?? -1);
        expect(Math.sign(compareCodePoints(a, b))).toBe(Math.sign(expected));
      }),
    );
  });
});

describe('the heap', () => {
  it('gives its items back in order', () => {
    fc.assert(
      fc.property(fc.array(fc.integer()), (numbers) => {
        const heap = new BinaryHeap<number>((a, b) => a - b);
        for (const number of numbers) heap.push(number);
        expect(heap.size).toBe(numbers.length);
        const taken = numbers.map(() => heap.pop());
        expect(taken).toEqual([...numbers].sort((a, b) => a - b));
        expect(heap.pop()).toBeUndefined();
      }),
    );
  });
});

describe('the division of state sets', () => {
  const set = (entries: Record<string, string>) => new Map(Object.entries(entries)) as Map<string, EventId>;
  it('calls unconflicted what every set has with the same value', () => {
    const { unconflicted, conflicted } = splitStateSets([
      set({ same: '$1', differs: '$2', first: '$3' }),
      set({ same: '$1', differs: '$4', both: '$5' }),
      set({ same: '$1', differs: '$2', both: '$5' }),
    ]);
    expect(unconflicted).toEqual(set({ same: '$1' }));
    expect(conflicted).toEqual(
      new Map([
        ['differs', ['$2', '$4']],
        ['first', ['$3']],
        ['both', ['$5']],
      ]),
    );
  });
});
