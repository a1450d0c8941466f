/**
 * The prev_events of a pushed event that we lack, asked of who pushed it: by `get_missing_events`, and the state behind a gap
 * in those by `/state_ids`. Its auth events: intake/fetch-missing-auth.ts.
 *
 * A gap right before the pushed event itself is never filled: whoever pushes would dictate the room's state.
 * Specification v1.19, server-server API, "Backfilling and retrieving missing events" and "Retrieving events".
 */

import type { EventId, ServerName } from '../kernel/matrix/ids.js';
import { RemoteError } from '../remote/remote-error.js';
import { requestMissingEvents } from '../remote/state-requests.js';
import { eventIdOfNid, eventNidOf, loadEvent, loadRecord, referencedIds } from '../store/events.js';
import type { EventNid } from '../store/nids.js';
import type { StoreReader } from '../store/open-store.js';
import type { Room } from '../store/rooms.js';
import { loadRoom } from '../store/rooms.js';
import { eventContext, eventContextIn } from '../store/timeline.js';
import { acceptEvent } from './accept-event.js';
import { fetchMissingAuth } from './intake/fetch-missing-auth.js';
import { ingestPdus } from './intake/ingest-pdus.js';
import type { RoomServer } from './room-server.js';

/** Events asked for by one `get_missing_events`. */
const MISSING_EVENTS_MAX = 20;
/** Gaps filled for one pushed event: each may be the whole state of a room. */
export const GAPS_FILLED_MAX = 5;

/** Stores the full state around an event that we lack, as `via` has it. Throws RemoteError when it cannot be had. */
export type FillGap = (room: Room, via: ServerName, prev: EventId) => Promise<void>;

/** Events by what they say of their depth, oldest first; only an order to try them in. */
export function byDepth(reader: StoreReader, nids: readonly EventNid[]): EventNid[] {
  const depthOf = (nid: EventNid) => loadRecord(reader, nid)?.depth ?? 0;
  return [...nids].sort((a, b) => depthOf(a) - depthOf(b));
}

/** Times that `get_missing_events` is asked for one pushed event: again only where no state is to be had at a gap. */
export const MISSING_ROUNDS_MAX = 3;

/** What may still be asked for one pushed event. */
interface Budget {
  gaps: number;
  rounds: number;
}

/** Fetches prev_events that we lack and decides about them, in the room's queue. Throws RemoteError. */
export async function fetchMissingPrevs(
  server: RoomServer,
  origin: ServerName,
  room: Room,
  nid: EventNid,
  fillGap: FillGap,
  budget: Budget = { gaps: GAPS_FILLED_MAX, rounds: MISSING_ROUNDS_MAX },
): Promise<void> {
  if (missingPrevs(server, room, nid).length === 0) return;
  budget.rounds -= 1;
  const extremities = loadRoom(server.store, room.roomId)?.extremities ?? [];
  const events = await requestMissingEvents(server.client, origin, room.roomId, {
    earliest_events: extremities.map((extremity) => eventIdOfNid(server.store, extremity)),
    latest_events: [eventIdOfNid(server.store, nid)],
    limit: MISSING_EVENTS_MAX,
  });
  const { nids } = await ingestPdus(server, room, events);
  for (const prev of byDepth(server.store, ancestors(server, room, nid, nids))) {
    for (const gap of missingPrevs(server, room, prev)) {
      if (budget.gaps === 0 || !isMissing(server, room, gap)) continue;
      budget.gaps -= 1;
      try {
        await fillGap(room, origin, gap);
      } catch (error) {
        // It may be rejected: then its state is not served, but itself among the missing events.
        if (!isUnknown(error) || budget.rounds === 0) throw error;
        await fetchMissingPrevs(server, origin, room, prev, fillGap, budget);
      }
    }
    await fetchMissingAuth(server, origin, room, prev);
    await server.queues.run(room.roomId, () => acceptEvent(server, room.roomId, prev));
  }
}

/** prev_events of an event around which we have no state. */
function missingPrevs(server: RoomServer, room: Room, nid: EventNid): EventId[] {
  return prevIds(server, room, nid).filter((id) => isMissing(server, room, id));
}

function isMissing({ store }: RoomServer, room: Room, id: EventId): boolean {
  const nid = eventNidOf(store, id);
  return nid === undefined || eventContextIn(store, room.nid, nid) === undefined;
}

/** Whether a server says that it does not have what it was asked for. */
function isUnknown(error: unknown): boolean {
  return error instanceof RemoteError && error.kind === 'refused' && error.status === 404;
}

function prevIds(server: RoomServer, room: Room, nid: EventNid): EventId[] {
  return referencedIds(loadEvent(server.store, room.rules, nid)?.json.prev_events);
}

/**
 * Those of `among` that the event follows upon, back to what we have ourselves; others were not asked for and bring no state
 * with them, and what lies further back is the history before our join.
 */
function ancestors(server: RoomServer, room: Room, nid: EventNid, among: readonly EventNid[]): EventNid[] {
  const found = new Set<EventNid>();
  const candidates = new Set(among);
  const toVisit = [nid];
  for (let next = toVisit.pop(); next !== undefined; next = toVisit.pop()) {
    for (const id of prevIds(server, room, next)) {
      const prev = eventNidOf(server.store, id);
      if (prev === undefined || !candidates.has(prev) || found.has(prev)) continue;
      if (eventContext(server.store, prev) !== undefined) continue;
      found.add(prev);
      toVisit.push(prev);
    }
  }
  return [...found];
}
