/** State groups against a plain map. */

import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { EventNid, RoomNid, StateGroupNid, StateKeyNid } from '../../src/store/nids.js';
import type { StateEntry } from '../../src/store/state-groups.js';
import {
  CHUNK_ENTRIES,
  changeStateGroup,
  differingEntries,
  EMPTY_STATE_GROUP,
  internStateKey,
  internStateKeys,
  nonMemberEntries,
  putStateGroup,
  stateEntries,
  stateEvent,
  stateEventAt,
  stateKeyNidOf,
} from '../../src/store/state-groups.js';
import { temporaryStore } from './temporary-store.js';

const store = temporaryStore();
const room = 1 as RoomNid;
const entry = (place: number, event: number): StateEntry => [place as StateKeyNid, event as EventNid];
const put = (...events: number[]) => store.write((writer) => putStateGroup(writer, Uint32Array.from(events)));
const change = (base: StateGroupNid, ...entries: StateEntry[]) =>
  store.write((writer) => changeStateGroup(writer, base, entries));
const entries = (group: StateGroupNid) => [...stateEntries(store, group)];

describe('state keys', () => {
  it('have dense places from 0 in each room, the same one each time', () => {
    store.write((writer) => {
      expect(internStateKey(writer, room, 'm.room.create', '')).toBe(0);
      expect(internStateKey(writer, room, 'm.room.member', '@a:a.test')).toBe(1);
      expect(internStateKey(writer, 2 as RoomNid, 'm.room.member', '@a:a.test')).toBe(0);
      expect(internStateKey(writer, room, 'm.room.create', '')).toBe(0);
    });
    expect(stateKeyNidOf(store, room, 'm.room.topic', '')).toBeUndefined();
  });

  it('differ wherever type or state key differ, whatever characters they hold', () => {
    const text = fc.oneof(
      fc.string({ unit: 'binary', maxLength: 6 }),
      fc.constantFrom('', 'a', 'a\0', '\0', 'a\0b', '\u0001', '\u0002'),
    );
    const pairs = fc.uniqueArray(fc.tuple(text, text), { selector: (pair) => JSON.stringify(pair), maxLength: 12 });
    let number = 100;
    fc.assert(
      fc.property(pairs, (keys) => {
        const fresh = number++ as RoomNid;
        const places = store.write((writer) => keys.map(([type, key]) => internStateKey(writer, fresh, type, key)));
        expect(places).toEqual(keys.map((_, i) => i));
        expect(keys.map(([type, key]) => stateKeyNidOf(store, fresh, type, key))).toEqual(places);
      }),
      { numRuns: 30 },
    );
  });

  it('may be as long as the specification allows: 255 code points of four bytes each', () => {
    const long = '😀'.repeat(255);
    const places = store.write((writer) => [
      internStateKey(writer, 3 as RoomNid, long, long),
      internStateKey(writer, 3 as RoomNid, long, `${long.slice(2)}a`),
    ]);
    expect(places).toEqual([0, 1]);
    expect(stateKeyNidOf(store, 3 as RoomNid, long, long)).toBe(0);
    expect(
      store.write((writer) =>
        internStateKeys(writer, 3 as RoomNid, [
          [long, ''],
          [long, long],
          ['x', ''],
        ]),
      ),
    ).toEqual([2, 0, 3]);
  });
});

describe('state groups', () => {
  it('hold what was put, and nothing at other places', () => {
    const group = put(5, 0, 7);
    expect(entries(group)).toEqual([entry(0, 5), entry(2, 7)]);
    expect([0, 1, 2, 3, 5000].map((place) => stateEventAt(store, group, place as StateKeyNid))).toEqual([
      5, 0, 7, 0, 0,
    ]);
    expect(stateEvent(store, room, group, 'm.room.create', '')).toBe(5);
    expect(stateEvent(store, room, group, 'm.room.topic', '')).toBe(0);
  });

  it('are one group where states are equal, however they came about', () => {
    const direct = put(1, 2, 3);
    expect(put(1, 2, 3, 0, 0)).toBe(direct);
    expect(change(EMPTY_STATE_GROUP, entry(2, 3), entry(0, 1), entry(1, 2))).toBe(direct);
    expect(change(put(1, 9, 3), entry(1, 2))).toBe(direct);
    expect(change(direct)).toBe(direct);
  });

  it('lose an entry by removal, and the group of no state at all is 0', () => {
    const group = put(1, 2);
    expect(entries(change(group, entry(0, 0)))).toEqual([entry(1, 2)]);
    expect(change(group, entry(0, 0), entry(1, 0))).toBe(EMPTY_STATE_GROUP);
    expect(put()).toBe(EMPTY_STATE_GROUP);
    expect(put(0, 0, 0)).toBe(EMPTY_STATE_GROUP);
    expect(entries(EMPTY_STATE_GROUP)).toEqual([]);
    expect(change(group, entry(3 * CHUNK_ENTRIES, 4), entry(3 * CHUNK_ENTRIES, 0))).toBe(group);
  });

  it('share the chunks that a change does not touch', () => {
    const places = Uint32Array.from({ length: 4 * CHUNK_ENTRIES }, (_, i) => i + 10_000);
    const chunks = () => [...store.tables.state_chunk_by_nid.getKeys({})].length;
    const base = store.write((writer) => putStateGroup(writer, places));
    const before = chunks();
    change(base, entry(CHUNK_ENTRIES + 1, 1));
    expect(chunks() - before).toBe(1);
  });

  it('are read without the members, whatever the other types are called', () => {
    const other = 90 as RoomNid;
    const types = [
      '',
      'a',
      'm.room.membe',
      'm.room.member\0',
      'm.room.member\0x',
      'm.room.member!',
      'm.room.members',
      'z',
    ];
    const group = store.write((writer) => {
      const places = [...types, 'm.room.member'].flatMap((type) =>
        ['', '@a:a.test', '\u{10ffff}', 'k'.repeat(1000)].map((key) => internStateKey(writer, other, type, key)),
      );
      internStateKey(writer, 91 as RoomNid, 'a', '');
      return putStateGroup(
        writer,
        Uint32Array.from(places, (place) => place + 1),
      );
    });
    const found = [...nonMemberEntries(store, other, group)].sort(([a], [b]) => a - b);
    expect(found).toEqual(Array.from({ length: 4 * types.length }, (_, place) => [place, place + 1]));
    expect([...nonMemberEntries(store, 92 as RoomNid, group)]).toEqual([]);
  });

  it('name the places where states differ, with the event of each', () => {
    const one = put(1, 2, 3);
    const other = change(one, entry(1, 0), entry(600, 8));
    expect([...differingEntries(store, [one, other])]).toEqual([
      [1, [2, 0]],
      [600, [0, 8]],
    ]);
    expect([...differingEntries(store, [one, one, one])]).toEqual([]);
    expect([...differingEntries(store, [one, EMPTY_STATE_GROUP])].length).toBe(3);
    expect([...differingEntries(store, [])]).toEqual([]);
  });

  it('behave as plain maps do', () => {
    const edits = fc.array(fc.tuple(fc.oneof(fc.nat(8), fc.nat(1500)), fc.nat(3)), { maxLength: 12 });
    fc.assert(
      fc.property(edits, edits, (first, second) => {
        const applied = (base: ReadonlyMap<number, number>, changes: readonly (readonly [number, number])[]) => {
          const map = new Map(base);
          for (const [place, event] of changes) event === 0 ? map.delete(place) : map.set(place, event);
          return map;
        };
        const sorted = (map: ReadonlyMap<number, number>) => [...map].sort(([a], [b]) => a - b);
        const one = applied(new Map(), first);
        const two = applied(one, second);
        const oneGroup = change(EMPTY_STATE_GROUP, ...first.map(([place, event]) => entry(place, event)));
        const twoGroup = change(oneGroup, ...second.map(([place, event]) => entry(place, event)));
        expect(entries(oneGroup)).toEqual(sorted(one));
        expect(entries(twoGroup)).toEqual(sorted(two));
        const places = [...new Set([...one.keys(), ...two.keys()])].sort((a, b) => a - b);
        const differing = places.filter((place) => one.get(place) !== two.get(place));
        expect([...differingEntries(store, [oneGroup, twoGroup])]).toEqual(
          differing.map((place) => [place, [one.get(place) ?? 0, two.get(place) ?? 0]]),
        );
        expect(oneGroup === twoGroup).toBe(differing.length === 0);
      }),
      { numRuns: 25 },
    );
  });
});
