import { describe, expect, it } from 'vitest';
import type { ServerName } from '../../src/kernel/matrix/ids.js';
import { atMinimumPace, PACE_EVENTS_A_SECOND, PACE_GRACE_MS } from '../../src/remote/minimum-pace.js';

const MINUTE_MS = 60_000;

/** Reads an answer that brings `events` events each minute for `minutes`: how many came before it was cut off. */
async function read(events: number, minutes: number): Promise<number | string> {
  let now = 0;
  let useful = 0;
  async function* body() {
    for (let n = 0; n < minutes; n++) {
      yield Buffer.from('x');
      useful += events;
      now += MINUTE_MS;
    }
  }
  try {
    for await (const _ of atMinimumPace(
      body(),
      'hs1' as ServerName,
      'state',
      () => now,
      () => useful,
    ));
    return useful;
  } catch (error) {
    return (error as Error).message;
  }
}

describe('an answer with many events', () => {
  it('is read to its end however slow, where it keeps the pace', async () => {
    expect(await read(PACE_EVENTS_A_SECOND * 60, 59)).toBe(PACE_EVENTS_A_SECOND * 60 * 59);
  });

  it('has time to begin, and is cut off by name when it drips on', async () => {
    expect(await read(1, PACE_GRACE_MS / MINUTE_MS)).toBe(PACE_GRACE_MS / MINUTE_MS);
    expect(await read(1, 60)).toBe('hs1: state: only 6 events in 360 s');
  });
});
