/**
 * An answer with many events must bring them at a minimum pace: a server that drips for ever would otherwise hold one of
 * the few resyncs, or a user's join, for the hour that a whole answer may take.
 */

import type { ServerName } from '../kernel/matrix/ids.js';
import { RemoteError } from './remote-error.js';

/** From the first byte on, before the pace counts: a small room is here by then on any line. In milliseconds. */
export const PACE_GRACE_MS = 5 * 60 * 1000;
/**
 * Events, or their IDs, for each second after that. Events of 800 bytes at this pace are 8 KB/s, a modem of the nineties;
 * at a fifth of what a room of Matrix HQ's size needs to come within the hour. White space and what is refused are none.
 */
export const PACE_EVENTS_A_SECOND = 10;

/** The body, until its pace is too low. Throws RemoteError `timeout` then. `useful`: events of it so far. */
export async function* atMinimumPace(
  body: AsyncIterable<Buffer>,
  via: ServerName,
  what: string,
  clock: () => number,
  useful: () => number,
): AsyncGenerator<Buffer> {
  let startTs: number | undefined;
  for await (const chunk of body) {
    startTs ??= clock();
    const ms = clock() - startTs;
    if (useful() < ((ms - PACE_GRACE_MS) / 1000) * PACE_EVENTS_A_SECOND)
      throw new RemoteError('timeout', via, `${what}: only ${useful()} events in ${Math.round(ms / 1000)} s`);
    yield chunk;
  }
}
