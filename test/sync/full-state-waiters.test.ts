import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import type { RoomNid } from '../../src/store/nids.js';
import { loadRoom, putRoom } from '../../src/store/rooms.js';
import { FULL_STATE_WAIT_MS, FullStateWaiters, WAITERS_MAX } from '../../src/sync/full-state-waiters.js';
import { ROOM, ServedRoom } from '../api/federation/served-room.js';

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

beforeEach(async () => {
  served = new ServedRoom();
  await served.createRoom();
  waiters = new FullStateWaiters(served.store);
  setResidency('partial-state');
  vi.useFakeTimers();
});

afterEach(async () => {
  vi.useRealTimers();
  await served.close();
});

describe('waiting for the full state of a room', () => {
  it('ends at once where the state is full', async () => {
    setResidency('full-state');
    expect(await waiters.wait(room, listening)).toBe('full');
  });

  it('ends for everybody when the room is completed, and for nobody when another is', async () => {
    const ended: string[] = [];
    const waits = ['a', 'b'].map((name) => waiters.wait(room, listening).then((outcome) => ended.push(name + outcome)));
    waiters.completed((room + 1) as RoomNid);
    await Promise.resolve();
    expect(ended).toEqual([]);
    waiters.completed(room);
    await Promise.all(waits);
    expect(ended).toEqual(['afull', 'bfull']);
  });

  it('ends after the longest wait', async () => {
    const wait = waiters.wait(room, listening);
    await vi.advanceTimersByTimeAsync(FULL_STATE_WAIT_MS);
    expect(await wait).toBe('timeout');
  });

  it('ends when the caller hangs up, before or meanwhile', async () => {
    const caller = new AbortController();
    const wait = waiters.wait(room, caller.signal);
    caller.abort();
    expect(await wait).toBe('aborted');
    expect(await waiters.wait(room, caller.signal)).toBe('aborted');
  });

  it('wakes those who wait again after others gave up', async () => {
    const caller = new AbortController();
    const first = waiters.wait(room, caller.signal);
    const second = waiters.wait(room, listening);
    caller.abort();
    waiters.completed(room);
    expect([await first, await second]).toEqual(['aborted', 'full']);
  });

  it('has a limit, and room again when one has ended', async () => {
    const caller = new AbortController();
    const first = waiters.wait(room, caller.signal);
    const others = Array.from({ length: WAITERS_MAX - 1 }, () => waiters.wait(room, new AbortController().signal));
    expect(await waiters.wait(room, listening)).toBe('too-many');
    caller.abort();
    expect(await first).toBe('aborted');
    const another = waiters.wait(room, listening);
    waiters.completed(room);
    expect(await another).toBe('full');
    expect(new Set(await Promise.all(others))).toEqual(new Set(['full']));
  });
});
