import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import type { EventId, ServerName, UserId } from '../../src/kernel/matrix/ids.js';
import type { JsonObject } from '../../src/kernel/matrix/json.js';
import { eventNidOf } from '../../src/store/events.js';
import type { EventNid, RoomNid } from '../../src/store/nids.js';
import { NO_EVENT } from '../../src/store/nids.js';
import { loadRoom, putPartialState, putRoom } from '../../src/store/rooms.js';
import { FULL_STATE_WAIT_MS, FullStateWaiters, WAITERS_MAX } from '../../src/sync/full-state-waiters.js';
import { ALICE, NOW, ROOM, ServedRoom } from '../api/federation/served-room.js';

let served: ServedRoom;
let waiters: FullStateWaiters;
let room: RoomNid;
const listening = new AbortController().signal;

function setResidency(residency: 'partial-state' | 'full-state'): void {
  const row = loadRoom(served.store, ROOM);
  if (row === undefined) throw new Error(`no room ${ROOM}`);
  room = row.nid;
  served.store.write((writer) => putRoom(writer, row.nid, { ...row, residency }));
}

function eventNid(eventId: EventId): EventNid {
  const nid = eventNidOf(served.store, eventId);
  if (nid === undefined) throw new Error(`${eventId} is not stored`);
  return nid;
}

beforeEach(async () => {
  served = new ServedRoom();
  await served.createRoom();
  waiters = new FullStateWaiters(served.store, () => NOW);
  setResidency('partial-state');
  vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout'] });
});

afterEach(async () => {
  vi.useRealTimers();
  await served.close();
});

describe('waiting for the full state of a room', () => {
  it('ends at once where the state is full', async () => {
    setResidency('full-state');
    expect(await waiters.wait(room, ALICE, listening)).toBe('full');
  });

  it('ends for everybody when the server stops, and begins for nobody then', async () => {
    const wait = waiters.wait(room, ALICE, listening);
    waiters.close();
    expect([await wait, await waiters.wait(room, ALICE, listening)]).toEqual(['stopping', 'stopping']);
  });

  it('ends for everybody when the room is completed, and for nobody when another is', async () => {
    const ended: string[] = [];
    const waits = ['a', 'b'].map((name) =>
      waiters.wait(room, ALICE, listening).then((outcome) => ended.push(name + outcome)),
    );
    waiters.completed((room + 1) as RoomNid);
    await Promise.resolve();
    expect(ended).toEqual([]);
    waiters.completed(room);
    await Promise.all(waits);
    expect(ended).toEqual(['afull', 'bfull']);
  });

  it('ends after the longest wait', async () => {
    const wait = waiters.wait(room, ALICE, listening);
    await vi.advanceTimersByTimeAsync(FULL_STATE_WAIT_MS);
    expect(await wait).toBe('timeout');
  });

  it('ends for everybody when the resync has failed for now', async () => {
    const waits = [ALICE, '@dora:hs1' as UserId].map((user) => waiters.wait(room, user, listening));
    waiters.failedForNow(room);
    expect(await Promise.all(waits)).toEqual(['failed-for-now', 'failed-for-now']);
  });

  it('does not begin while the resync backs off', async () => {
    served.store.write((writer) =>
      putPartialState(writer, room, {
        joinNid: NO_EVENT,
        joinedVia: 'hs2' as ServerName,
        servers: [],
        deviceListPosition: 0,
        attempts: 1,
        nextTryTs: NOW + 5000,
        lastFailure: 'no answer',
      }),
    );
    expect([await waiters.wait(room, ALICE, listening), waiters.untilNextTryMs(room)]).toEqual([
      'failed-for-now',
      5000,
    ]);
  });

  it('ends for a user who leaves the room, and for nobody else', async () => {
    const ended: string[] = [];
    const waits = [ALICE, '@dora:hs1' as UserId].map((user) =>
      waiters.wait(room, user, listening).then((outcome) => ended.push(`${user} ${outcome}`)),
    );
    const send = (type: string, content: JsonObject) => served.send(type, ALICE, content).then(eventNid);
    waiters.onTimelineEvent(room, await send('org.example.fact', { membership: 'leave' }));
    waiters.onTimelineEvent(room, await send('m.room.member', { membership: 'join', displayname: 'Alice' }));
    expect(ended).toEqual([]);
    waiters.onTimelineEvent(room, await send('m.room.member', { membership: 'leave' }));
    await waits[0];
    expect(ended).toEqual([`${ALICE} departed`]);
  });

  it('ends when the caller hangs up, before or meanwhile', async () => {
    const caller = new AbortController();
    const wait = waiters.wait(room, ALICE, caller.signal);
    caller.abort();
    expect(await wait).toBe('aborted');
    expect(await waiters.wait(room, ALICE, caller.signal)).toBe('aborted');
  });

  it('wakes those who wait again after others gave up', async () => {
    const caller = new AbortController();
    const first = waiters.wait(room, ALICE, caller.signal);
    const second = waiters.wait(room, ALICE, listening);
    caller.abort();
    waiters.completed(room);
    expect([await first, await second]).toEqual(['aborted', 'full']);
  });

  it('has a limit, and room again when one has ended', async () => {
    const caller = new AbortController();
    const first = waiters.wait(room, ALICE, caller.signal);
    const others = Array.from({ length: WAITERS_MAX - 1 }, () =>
      waiters.wait(room, ALICE, new AbortController().signal),
    );
    expect(await waiters.wait(room, ALICE, listening)).toBe('too-many');
    caller.abort();
    expect(await first).toBe('aborted');
    const another = waiters.wait(room, ALICE, listening);
    waiters.completed(room);
    expect(await another).toBe('full');
    expect(new Set(await Promise.all(others))).toEqual(new Set(['full']));
  });
});
