/**
 * Makes a missing prev_event of an event that `get_missing_events` returned something to stand on: its full state comes
 * from the server that named it. The event itself stays an outlier, no part of the timeline; history before it is not
 * fetched. BEHAVIOUR: a gap is filled so, and not by asking for ever more missing events.
 * Specification v1.19, server-server API, "Retrieving events".
 */

import type { EventId, ServerName } from '../kernel/matrix/ids.js';
import { RemoteError } from '../remote/remote-error.js';
import { SplitError } from '../remote/split-response.js';
import type { FillGap } from '../room/fetch-missing.js';
import { RoomProgress } from '../room/room-progress.js';
import type { RoomServer } from '../room/room-server.js';
import { eventNidOf } from '../store/events.js';
import type { Room } from '../store/rooms.js';
import { changeStateGroup, EMPTY_STATE_GROUP, internStateKey } from '../store/state-groups.js';
import { eventContext, putEventContext } from '../store/timeline.js';
import { stateAroundEvent } from './state-around-event.js';

/** Longest wait for the state at one gap: who pushed holds its connection open so long. */
export const GAP_DEADLINE_MS = 5 * 60 * 1000;

/** Gaps being filled at one time, all rooms together: each may hold the list of a whole room's state. */
export const GAPS_FILLING_MAX = 3;

/** What fills gaps: one that is being filled is waited for, and beyond the limit so is the end of another. */
export function createFillGap(server: RoomServer): FillGap {
  const filling = new Map<string, Promise<void>>();
  return async (room, via, prev) => {
    const key = `${room.nid} ${prev}`;
    while (!filling.has(key) && filling.size >= GAPS_FILLING_MAX) {
      // How the other ends is its own caller's affair.
      await Promise.race(filling.values()).catch(() => undefined);
    }
    const same = filling.get(key);
    if (same !== undefined) return same;
    const filled = fillGap(server, room, via, prev).finally(() => filling.delete(key));
    filling.set(key, filled);
    return filled;
  };
}

/** Stores the state around `prev`. Throws RemoteError when `via` does not have it. */
async function fillGap(server: RoomServer, room: Room, via: ServerName, prev: EventId): Promise<void> {
  if (eventNidOf(server.store, prev) === room.createNid) {
    standOnCreate(server, room);
    return;
  }
  // A resync of the same room may be under way: its progress is not this one's.
  const progress = new RoomProgress(server.clock);
  const aside: RoomServer = { ...server, progressOf: () => progress };
  const signal = AbortSignal.timeout(GAP_DEADLINE_MS);
  try {
    const { nid, before, after } = await stateAroundEvent(aside, room, via, prev, Promise.resolve(), signal);
    server.store.write((writer) => {
      if (eventContext(writer, nid) === undefined) putEventContext(writer, nid, { before, after });
    });
  } catch (error) {
    if (signal.aborted) throw new RemoteError('timeout', via, `no state at ${prev} within ${GAP_DEADLINE_MS} ms`);
    if (!(error instanceof SplitError || error instanceof RangeError)) throw error;
    throw new RemoteError('malformed', via, `the state at ${prev}: ${error.message}`, { cause: error });
  }
}

/** Nothing was before the create event, and a list of no state is no answer: nobody is asked. */
function standOnCreate({ store }: RoomServer, { nid, createNid }: Room): void {
  store.write((writer) => {
    if (eventContext(writer, createNid) !== undefined) return;
    const place = internStateKey(writer, nid, 'm.room.create', '');
    const after = changeStateGroup(writer, EMPTY_STATE_GROUP, [[place, createNid]]);
    putEventContext(writer, createNid, { before: EMPTY_STATE_GROUP, after });
  });
}
