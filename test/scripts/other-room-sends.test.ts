/** The sends into another room beside a join: how they are timed, and that a lost one is noticed. Time is virtual. */

import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import type { Api, ApiAnswer } from '../../scripts/hq/api-client.js';
import { otherRoomSends, percentile } from '../../scripts/hq/measure/other-room-sends.js';

const ROOM = '!other:hs2.test';

beforeEach(() => {
  vi.useFakeTimers();
});
afterEach(() => {
  vi.useRealTimers();
});

/** A server that takes `sendMs` for each send and has forgotten the messages in `forgets`. */
function serverOf(sendMs: number, forgets: readonly string[] = []): Api {
  const stored: string[] = [];
  const answer = (json: unknown): ApiAnswer => {
    const now = performance.now();
    return { json, headersAtMs: now, completeAtMs: now, bodyBytes: 0 };
  };
  return {
    get: async () => {
      const events = stored.filter((id) => !forgets.includes(id)).map((event_id) => ({ event_id }));
      return answer({ next_batch: 's', rooms: { join: { [ROOM]: { timeline: { events } } } } });
    },
    put: async (path) => {
      await new Promise((resolve) => setTimeout(resolve, sendMs));
      const eventId = `$${path.split('/').at(-1)}`;
      stored.push(eventId);
      return answer({ event_id: eventId });
    },
    post: async () => Promise.reject(new Error('nothing is posted')),
  };
}

describe('the sends into another room', () => {
  it('are one a second, timed from request to answer, and all found afterwards', async () => {
    const sends = await otherRoomSends(serverOf(20), ROOM);
    sends.start();
    await vi.advanceTimersByTimeAsync(4_000);
    await sends.stop();
    expect(await sends.figures()).toEqual({ sends: 4, p50_ms: 20, p99_ms: 20, lost: [] });
  });

  it('end with the one that is under way', async () => {
    const sends = await otherRoomSends(serverOf(5_000), ROOM);
    sends.start();
    await vi.advanceTimersByTimeAsync(1_000);
    const stopped = sends.stop();
    await vi.advanceTimersByTimeAsync(5_000);
    await stopped;
    expect(await sends.figures()).toMatchObject({ sends: 1, p50_ms: 5_000 });
  });

  it('are a hundred at most, and none where there was no time', async () => {
    const many = await otherRoomSends(serverOf(1), ROOM);
    many.start();
    await vi.advanceTimersByTimeAsync(1_000_000);
    await many.stop();
    expect(await many.figures()).toMatchObject({ sends: 100, lost: [] });
    const none = await otherRoomSends(serverOf(1), ROOM);
    none.start();
    await none.stop();
    await vi.advanceTimersByTimeAsync(10_000);
    expect((await none.figures()).sends).toBe(0);
  });

  it('name what was answered and is not there', async () => {
    const sends = await otherRoomSends(serverOf(1, ['$other2']), ROOM);
    sends.start();
    await vi.advanceTimersByTimeAsync(3_000);
    await sends.stop();
    expect((await sends.figures()).lost).toEqual(['$other2']);
  });

  it('have percentiles that are measured values', () => {
    const values = Array.from({ length: 100 }, (_, i) => 100 - i);
    expect([percentile(values, 0.5), percentile(values, 0.99), percentile([7], 0.5), percentile([], 0.5)]).toEqual([
      50,
      99,
      7,
      null,
    ]);
  });
});
