/** What holds of every resolution: it does not depend on the order of anything, and keeps what is unconflicted. */

import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { authDifferenceOf, conflictedStateSubgraphOf } from '../../../src/kernel/state-res/auth-chain.js';
import { type EventSource, eventSourceOf } from '../../../src/kernel/state-res/event-source.js';
import { resolveConflicts } from '../../../src/kernel/state-res/resolve-conflicts.js';
import { resolveState } from '../../../src/kernel/state-res/resolve-state.js';
import { splitStateSets } from '../../../src/kernel/state-res/split-state-sets.js';
import { CREATE_KEY, type StateMap, stateKeyOf } from '../../../src/kernel/state-res/state-map.js';
import { attempt, growForks } from '../../rooms/random-forks.js';
import { ALICE, BOB, CAROL, printState, RoomBuilder } from '../../rooms/room-builder.js';

const shuffled = (state: StateMap, seed: number): StateMap => {
  const entries = [...state].map((entry, index) => ({
    entry,
    rank: ((index + 1) * (seed + 7) * 2_654_435_761) % 4_093,
  }));
  return new Map(entries.sort((a, b) => a.rank - b.rank).map(({ entry }) => entry));
};

describe.each(['1', '2', '10', '11', '12'])('the resolution of any forks of a room of version %s', (version) => {
  const attempts = fc.array(attempt, { minLength: 1, maxLength: 30 });

  it('does not depend on the order of the state sets, of their entries, nor on a set given twice', () => {
    fc.assert(
      fc.property(attempts, fc.nat(1_000), (list, seed) => {
        const { room, forks } = growForks(version, list);
        const sets = forks.map(({ state }) => state);
        const [a, b, c] = sets.map((set, index) => shuffled(set, seed + index)) as [StateMap, StateMap, StateMap];
        const expected = resolveState(room.rules, sets, room);
        for (const order of [
          [a, b, c],
          [c, a, b],
          [b, c, a],
          [c, b, a, b],
        ]) {
          const resolution = resolveState(room.rules, order, room);
          expect(printState(resolution.resolved)).toEqual(printState(expected.resolved));
          expect(resolution.rejected).toEqual(expected.rejected);
        }
      }),
      { numRuns: 100 },
    );
  });

  it('keeps the unconflicted state, chooses only among what is there, and resolves to itself', () => {
    fc.assert(
      fc.property(attempts, (list) => {
        const { room, forks } = growForks(version, list);
        const sets = forks.map(({ state }) => state);
        const { resolved, conflictedCount } = resolveState(room.rules, sets, room);
        const { unconflicted } = splitStateSets(sets);
        for (const [key, eventId] of unconflicted) expect(resolved.get(key)).toBe(eventId);
        for (const [key, eventId] of resolved) {
          const event = room.event(eventId)!;
          expect(stateKeyOf(event.type, event.stateKey!)).toBe(key);
        }
        if (conflictedCount === 0) expect(resolved).toEqual(sets[0]);
        expect(resolveState(room.rules, [resolved, resolved], room).resolved).toEqual(resolved);
      }),
      { numRuns: 60 },
    );
  });

  it('is what the core makes of its input in any order', () => {
    fc.assert(
      fc.property(attempts, (list) => {
        const { room, forks } = growForks(version, list);
        const sets = forks.map(({ state }) => state);
        const { unconflicted, conflicted } = splitStateSets(sets);
        const conflictedIds = [...conflicted.values()].flat();
        const { resolved } = resolveConflicts(room.rules, {
          conflicted: new Map([...conflicted].reverse().map(([key, ids]) => [key, [...ids].reverse()])),
          unconflicted: (key) => unconflicted.get(key),
          authDifference: [
            ...authDifferenceOf(
              room.rules,
              sets.map((set) => [...set.values()]),
              room,
            ),
          ].reverse(),
          conflictedSubgraph: [...conflictedStateSubgraphOf(room.rules, conflictedIds, room)].reverse(),
          source: room,
        });
        for (const key of resolved.keys()) expect(unconflicted.has(key)).toBe(false);
        const full = new Map([...unconflicted, ...resolved]);
        expect(printState(full)).toEqual(printState(resolveState(room.rules, sets, room).resolved));
      }),
      { numRuns: 60 },
    );
  });
});

describe('the core of state resolution', () => {
  it('asks for the events of the difference and their auth events only', () => {
    const room = new RoomBuilder('11');
    let base = room.startWith([BOB], { [BOB]: 50 });
    for (let index = 0; index < 500; index += 1) {
      const user = `@user${index}:u.test`;
      base = room.member(base, `join-${index}`, user, user, 'join');
    }
    const a = room.state(base, 'a', ALICE, 'm.room.topic', { topic: 'a' });
    const b = room.state(base, 'b', BOB, 'm.room.topic', { topic: 'b' });
    const asked = new Set<string>();
    const source: EventSource = {
      event: (id) => {
        asked.add(id);
        return room.event(id);
      },
    };
    const key = stateKeyOf('m.room.topic', '');
    const { resolved } = resolveConflicts(room.rules, {
      conflicted: new Map([[key, [room.idOf('a'), room.idOf('b')]]]),
      unconflicted: (wanted) => (wanted === key ? undefined : base.state.get(wanted)),
      authDifference: [],
      source,
    });
    expect(resolved).toEqual(new Map([[key, b.state.get(key)]]));
    expect(a.state.get(key)).toBe('$a');
    expect(asked.size).toBeLessThanOrEqual(7);
  });

  it('takes the create event of version 12 from the options where the source lacks it', () => {
    const room = new RoomBuilder('12');
    const base = room.startWith([BOB], { [BOB]: 50 });
    const forks = [room.state(base, 'a', ALICE, 'm.room.topic', {}), room.state(base, 'b', BOB, 'm.room.topic', {})];
    const createId = base.state.get(CREATE_KEY)!;
    const createEvent = room.event(createId)!;
    const source = eventSourceOf(new Map([...room.events].filter(([eventId]) => eventId !== createId)));
    const sets = forks.map(({ state }) => state);
    const key = stateKeyOf('m.room.topic', '');
    expect(resolveState(room.rules, sets, source).resolved.get(key)).toBeUndefined();
    expect(resolveState(room.rules, sets, source, { createEvent }).resolved.get(key)).toBe('$b');
  });

  it('leaves out power events on a cycle of auth_events, which only versions 1 and 2 can have', () => {
    const room = new RoomBuilder('2');
    const base = room.startWith([BOB], { [BOB]: 50 });
    const one = room.member(base, 'one', BOB, CAROL, 'ban');
    const two = room.member(base, 'two', ALICE, CAROL, 'ban');
    for (const [label, cited] of [
      ['one', 'two'],
      ['two', 'one'],
    ] as const) {
      const event = room.event(room.idOf(label))!;
      room.events.set(event.eventId, { ...event, authEventIds: [...event.authEventIds, room.idOf(cited)] });
    }
    expect(room.winner([one, two], 'm.room.member', CAROL)).toBeUndefined();
    expect(room.refusals([one, two])).toEqual({ one: 'event-on-cycle', two: 'event-on-cycle' });
  });
});
