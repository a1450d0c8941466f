import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import type { RoomNid } from '../../src/store/nids.js';
import { LONG_POLLS_MAX, SyncNotifier } from '../../src/sync/sync-notifier.js';

const ROOM_A = 1 as RoomNid;
const ROOM_B = 2 as RoomNid;
const isA = (room: RoomNid) => room === ROOM_A;
const listening = new AbortController().signal;

beforeEach(() => {
  vi.useFakeTimers();
});

afterEach(() => {
  vi.useRealTimers();
});

describe('a long poll', () => {
  it('wakes at news of a room that it watches, and not at news of another', async () => {
    const notifier = new SyncNotifier();
    let woken = 0;
    const wait = notifier.wait(isA, listening, 1000).then(() => {
      woken += 1;
    });
    notifier.notify(ROOM_B);
    await Promise.resolve();
    expect(woken).toBe(0);
    notifier.notify(ROOM_A);
    await wait;
    expect([woken, vi.getTimerCount()]).toEqual([1, 0]);
  });

  it('ends after its time-out', async () => {
    const wait = new SyncNotifier().wait(isA, listening, 1000);
    await vi.advanceTimersByTimeAsync(1000);
    await expect(wait).resolves.toBeUndefined();
  });

  it('ends at once without a time-out, or where the caller has hung up', async () => {
    const caller = new AbortController();
    const notifier = new SyncNotifier();
    await notifier.wait(isA, listening, 0);
    const wait = notifier.wait(isA, caller.signal, 1000);
    caller.abort();
    await wait;
    await notifier.wait(isA, caller.signal, 1000);
    expect(vi.getTimerCount()).toBe(0);
  });

  it('ends when the server stops, and no other begins', async () => {
    const notifier = new SyncNotifier();
    const wait = notifier.wait(isA, listening, 1000);
    notifier.close();
    await wait;
    await notifier.wait(isA, listening, 1000);
    expect([notifier.isClosed, vi.getTimerCount()]).toEqual([true, 0]);
  });

  it('is refused with M_LIMIT_EXCEEDED where too many wait, until one has ended', async () => {
    const notifier = new SyncNotifier();
    const caller = new AbortController();
    const first = notifier.wait(isA, caller.signal, 1000);
    for (let n = 1; n < LONG_POLLS_MAX; n++) notifier.wait(isA, new AbortController().signal, 1000);
    expect(() => notifier.wait(isA, listening, 1000)).toThrowError(
      expect.objectContaining({ status: 429, errcode: 'M_LIMIT_EXCEEDED' }),
    );
    caller.abort();
    await first;
    const wait = notifier.wait(isA, listening, 1000);
    notifier.notify(ROOM_A);
    await wait;
  });
});
