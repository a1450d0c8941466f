/** State resolution over the store: what the kernel's plain form says, whatever was resolved before, read from what differs. */

import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { withStore } from '../../bench/stored-room.js';
import type { AuthEvent } from '../../src/kernel/matrix/auth-event.js';
import { resolveState } from '../../src/kernel/state-res/resolve-state.js';
import { type StateMap, stateKeyOf } from '../../src/kernel/state-res/state-map.js';
import { RecordFlag } from '../../src/store/event-record.js';
import { StatusBit, setEventStatus, Verdict } from '../../src/store/event-status.js';
import type { RoomNid, StateGroupNid } from '../../src/store/nids.js';
import { NO_EVENT } from '../../src/store/nids.js';
import type { Store } from '../../src/store/open-store.js';
import { resolveGroups, type StateSetInput } from '../../src/workers/jobs/resolve-groups.js';
import { ResolvedRooms } from '../../src/workers/resolved-rooms.js';
import { StoredEvents } from '../../src/workers/stored-events.js';
import { WorkerContext } from '../../src/workers/worker-context.js';
import { attempt, growForks } from '../rooms/random-forks.js';
import { ALICE, BOB, CAROL, type Fork, printState, RoomBuilder } from '../rooms/room-builder.js';
import { nidOf, storeEvents, storeState } from '../rooms/stored-forks.js';

/** The state that the job's changes make of the first set. */
function resolved(
  context: WorkerContext,
  store: Store,
  room: RoomBuilder,
  roomNid: RoomNid,
  sets: StateSetInput[],
  first: StateMap,
) {
  const output = resolveGroups({ roomVersion: room.rules.version, roomId: room.roomId, roomNid, sets }, context);
  const state = new Map(first);
  const idByNid = new Map([...room.events.keys()].map((id) => [nidOf(store, id), id]));
  for (const { type, stateKey, event } of output.changes) {
    if (event === NO_EVENT) state.delete(stateKeyOf(type, stateKey));
    else state.set(stateKeyOf(type, stateKey), idByNid.get(event)!);
  }
  return { state, rejected: output.rejected };
}

const rank = (event: AuthEvent) => (event.originServerTs * 7 + event.eventId.length * 13) % 31;

describe.each(['1', '2', '10', '11', '12'])('the resolution of stored states of a room of version %s', (version) => {
  it('is that of the plain form, one after another in one thread', async () => {
    const attempts = fc.array(attempt, { minLength: 1, maxLength: 25 });
    await fc.assert(
      fc.asyncProperty(attempts, async (list) => {
        const { room, forks } = growForks(version, list);
        await withStore((store) => {
          const roomNid = storeEvents(store, room, rank);
          const context = new WorkerContext(store);
          const groups = forks.map(({ state }) => storeState(store, roomNid, state));
          for (const order of [
            [0, 1, 2],
            [2, 0],
            [1, 0],
            [0, 2, 1],
            [1, 2],
          ]) {
            const sets = order.map((index) => ({ group: groups[index]!, overlay: [] }));
            const states = order.map((index) => forks[index]!.state);
            const expected = resolveState(room.rules, states, room);
            const found = resolved(context, store, room, roomNid, sets, states[0]!);
            expect(printState(found.state)).toEqual(printState(expected.resolved));
            expect(found.rejected).toEqual(expected.rejected);
          }
        });
      }),
      { numRuns: 6 },
    );
  });

  it('is that of the plain form where sets are given by single events', async () => {
    const attempts = fc.array(attempt, { minLength: 6, maxLength: 25 });
    await fc.assert(
      fc.asyncProperty(attempts, fc.array(fc.nat(1_000), { minLength: 1, maxLength: 6 }), async (list, picks) => {
        const { room, forks } = growForks(version, list);
        await withStore((store) => {
          const roomNid = storeEvents(store, room, rank);
          const context = new WorkerContext(store);
          const stateEvents = [...room.events.values()].filter(({ stateKey }) => stateKey !== undefined);
          const overlayEvents = picks.map((pick) => stateEvents[pick % stateEvents.length]!);
          const overlay = overlayEvents.map(({ eventId }) => nidOf(store, eventId));
          const overlaid = (base: StateMap): StateMap => {
            const state = new Map(base);
            for (const { type, stateKey, eventId } of overlayEvents) state.set(stateKeyOf(type, stateKey!), eventId);
            return state;
          };
          const [a, b] = forks as [Fork, Fork];
          const [groupA, groupB] = [a, b].map(({ state }) => storeState(store, roomNid, state)) as [
            StateGroupNid,
            StateGroupNid,
          ];
          const cases: readonly (readonly [StateSetInput[], StateMap[], StateMap])[] = [
            [
              [
                { group: groupA, overlay: [] },
                { group: 0 as StateGroupNid, overlay },
              ],
              [a.state, overlaid(new Map())],
              a.state,
            ],
            [
              [
                { group: groupA, overlay },
                { group: groupB, overlay: [] },
              ],
              [overlaid(a.state), b.state],
              a.state,
            ],
            [
              [
                { group: groupB, overlay },
                { group: groupA, overlay },
              ],
              [overlaid(b.state), overlaid(a.state)],
              b.state,
            ],
          ];
          for (const [sets, states, first] of cases) {
            const expected = resolveState(room.rules, states, room);
            const found = resolved(context, store, room, roomNid, sets, first);
            expect(printState(found.state)).toEqual(printState(expected.resolved));
            expect(found.rejected).toEqual(expected.rejected);
          }
        });
      }),
      { numRuns: 6 },
    );
  });
});

describe('what a thread keeps of rooms that it resolved', () => {
  /** One room, told apart by its NID only: what is kept does not ask what a room is called. */
  const room = new RoomBuilder('11');
  const base = room.startWith([BOB, CAROL], { [BOB]: 50 });

  const useOf = (rooms: ResolvedRooms, store: Store, roomNid: number, group: StateGroupNid) =>
    rooms.use(store, { roomNid: roomNid as RoomNid, roomId: room.roomId, rules: room.rules }, (kept) => {
      const isNew = kept.graph.size === 0;
      kept.moveTo(group);
      return isNew;
    });

  it('is limited in bytes: rooms used last are kept', async () => {
    await withStore((store) => {
      const group = storeState(store, storeEvents(store, room), base.state);
      const one = new ResolvedRooms();
      useOf(one, store, 1, group);
      const rooms = new ResolvedRooms(2 * one.bytes);
      expect([1, 2, 1, 3].map((nid) => useOf(rooms, store, nid, group))).toEqual([true, true, false, true]);
      expect(rooms.bytes).toBe(2 * one.bytes);
      expect([1, 3, 2].map((nid) => useOf(rooms, store, nid, group))).toEqual([false, false, true]);
      const none = new ResolvedRooms(one.bytes - 1);
      expect([1, 1].map((nid) => useOf(none, store, nid, group))).toEqual([true, true]);
      expect(none.bytes).toBe(0);
    });
  });

  it('counts the bodies that were parsed', async () => {
    await withStore((store) => {
      storeEvents(store, room);
      const events = new StoredEvents(store, room.rules, room.roomId);
      const levels = events.event(room.idOf('power-levels'))!;
      const before = events.bytes;
      expect(levels.content).toEqual(room.event(levels.eventId)!.content);
      expect(events.bytes).toBeGreaterThan(before);
    });
  });

  it('has contents as received, whatever redactions came meanwhile, and redacted ones where the hash failed', async () => {
    const spoken = new RoomBuilder('11');
    spoken.state(spoken.startWith([]), 'topic', ALICE, 'm.room.topic', { topic: 'said' });
    const id = spoken.idOf('topic');
    await withStore((store) => {
      storeEvents(store, spoken);
      const nid = nidOf(store, id);
      store.write((writer) => setEventStatus(writer, nid, Verdict.accepted | StatusBit.redacted));
      store.refresh();
      expect(new StoredEvents(store, spoken.rules, spoken.roomId).event(id)?.content).toEqual({ topic: 'said' });
      store.write((writer) => {
        const record = Buffer.from(writer.tables.event_record_by_nid.getBinaryFast(nid)!);
        record[24]! |= RecordFlag.redacted;
        writer.tables.event_record_by_nid.put(nid, record);
      });
      store.refresh();
      expect(new StoredEvents(store, spoken.rules, spoken.roomId).event(id)?.content).toEqual({});
    });
  });

  it('has no verdicts: those are read anew', async () => {
    await withStore((store) => {
      const roomNid = storeEvents(store, room);
      const rooms = new ResolvedRooms();
      const topicIs = () =>
        rooms.use(store, { roomNid, roomId: room.roomId, rules: room.rules }, ({ events }) =>
          events.event(room.idOf('join-bob')),
        )?.rejected;
      expect(topicIs()).toBe(false);
      store.write((writer) => setEventStatus(writer, nidOf(store, room.idOf('join-bob')), Verdict.rejected));
      store.refresh();
      expect(topicIs()).toBe(true);
    });
  });

  it('is forgotten when a resolution fails half-way', async () => {
    await withStore((store) => {
      const group = storeState(store, storeEvents(store, room), base.state);
      const rooms = new ResolvedRooms();
      useOf(rooms, store, 1, group);
      const toResolve = { roomNid: 1 as RoomNid, roomId: room.roomId, rules: room.rules };
      expect(() =>
        rooms.use(store, toResolve, () => {
          throw new Error('half-way');
        }),
      ).toThrow('half-way');
      expect(useOf(rooms, store, 1, group)).toBe(true);
    });
  });

  it('is made anew when an event that was not known is stored', async () => {
    await withStore((store) => {
      const late = room.event(room.idOf('power-levels'))!;
      const before = new RoomBuilder('11');
      for (const [id, event] of room.events) if (event !== late) before.events.set(id, event);
      const state = new Map([...base.state].filter(([, id]) => id !== late.eventId));
      const group = storeState(store, storeEvents(store, before), state);
      const rooms = new ResolvedRooms();
      expect([1, 1].map((nid) => useOf(rooms, store, nid, group))).toEqual([true, false]);
      storeEvents(store, room);
      expect([1, 1].map((nid) => useOf(rooms, store, nid, group))).toEqual([true, false]);
    });
  });
});
