import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { ORIGIN_RATE, RETRY_AFTER_MS } from '../../../src/api/federation/authenticate.js';
import { HS2_KEY, HS3_KEY, ServedRoom } from './served-room.js';

let served: ServedRoom;
beforeEach(() => {
  served = new ServedRoom();
});
afterEach(() => served.close());

describe('an origin that asks too often', () => {
  it('is told to wait with 429 M_LIMIT_EXCEEDED; others are served', async () => {
    const ask = (as: typeof HS2_KEY) => served.call('GET', '/_matrix/federation/v1/event/$unknown', { as });
    let limited = 0;
    // Time stands still.
    for (let n = 0; n < ORIGIN_RATE.burst; n++) if ((await ask(HS2_KEY)).status === 429) limited += 1;
    expect(limited).toBe(0);
    const { status, body } = await ask(HS2_KEY);
    expect([status, body.errcode, body.retry_after_ms]).toEqual([429, 'M_LIMIT_EXCEEDED', RETRY_AFTER_MS]);
    expect((await ask(HS3_KEY)).status).toBe(404);
    const forged = await served.call('GET', '/_matrix/federation/v1/event/$unknown', {
      authorization: 'X-Matrix origin="hs3"',
    });
    expect(forged.status).toBe(401);
  });
});
