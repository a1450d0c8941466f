/**
 * `GET /_matrix/federation/v1/backfill/{roomId}`: events before and including some, newest first.
 * Specification v1.19, server-server API, "Backfilling and retrieving missing events".
 */

import type { EventId } from '../../kernel/matrix/ids.js';
import { MatrixError } from '../../kernel/matrix/matrix-error.js';
import { eventNidOf, loadRecord } from '../../store/events.js';
import type { EventNid } from '../../store/nids.js';
import type { StoreReader } from '../../store/open-store.js';
import type { Room } from '../../store/rooms.js';
import { eventPrevs } from '../../store/timeline.js';
import type { Endpoint } from '../endpoint.js';
import { ok } from '../endpoint.js';
import { authenticated } from './authenticate.js';
import type { FederationContext } from './federation-context.js';
import { checkServerAcl, checkServerInRoom, eventIdOf, isAcceptedIn, knownRoom, roomIdOf } from './room-access.js';
import { visiblePdus } from './visible-events.js';

/** Most events in one answer. */
export const BACKFILL_EVENTS_MAX = 100;
/** Most events to start from; a room's extremities are at most some twenty. */
const START_EVENTS_MAX = 100;

export function backfill(context: FederationContext): Endpoint {
  const { server } = context;
  return authenticated(context, {
    method: 'GET',
    path: '/_matrix/federation/v1/backfill/{roomId}',
    answer: async ({ params, origin, query }) => {
      const room = knownRoom(server.store, roomIdOf(params.roomId));
      checkServerAcl(server.store, room, origin);
      checkServerInRoom(server.store, room, origin, false);
      const starts = query.getAll('v');
      if (starts.length === 0) throw new MatrixError(400, 'M_MISSING_PARAM', 'v is missing: the events to start from');
      if (starts.length > START_EVENTS_MAX)
        throw new MatrixError(400, 'M_INVALID_PARAM', `more than ${START_EVENTS_MAX} values of v`);
      const limit = query.get('limit');
      if (limit === null) throw new MatrixError(400, 'M_MISSING_PARAM', 'limit is missing');
      if (!/^[0-9]{1,15}$/.test(limit)) throw new MatrixError(400, 'M_INVALID_PARAM', 'limit is not a natural number');
      const ids = starts.map((id) => eventIdOf(id, 'v'));
      const nids = eventsBefore(server.store, room, ids, Math.min(Number(limit), BACKFILL_EVENTS_MAX));
      const pdus = await visiblePdus(server, room, origin, nids, true);
      return ok({ origin: server.serverName, origin_server_ts: server.clock(), pdus });
    },
  });
}

/** The events with the greatest depth first, from `starts` back along prev_events. */
function eventsBefore(reader: StoreReader, room: Room, starts: readonly EventId[], limit: number): EventNid[] {
  const seen = new Set<EventNid>();
  const frontier: { readonly nid: EventNid; readonly depth: number }[] = [];
  const reach = (nid: EventNid | undefined): void => {
    if (nid === undefined || seen.has(nid) || !isAcceptedIn(reader, room, nid)) return;
    seen.add(nid);
    frontier.push({ nid, depth: loadRecord(reader, nid)?.depth ?? 0 });
  };
  for (const id of starts) reach(eventNidOf(reader, id));
  const found: EventNid[] = [];
  while (frontier.length > 0 && found.length < limit) {
    frontier.sort((a, b) => a.depth - b.depth || a.nid - b.nid);
    const { nid } = frontier.pop() as { nid: EventNid };
    found.push(nid);
    for (const prev of eventPrevs(reader, nid)) reach(prev);
  }
  return found;
}
