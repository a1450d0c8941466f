/**
 * `POST /_matrix/federation/v1/get_missing_events/{roomId}`: events between those that the caller has and those that it was
 * sent, oldest first.
 * Specification v1.19, server-server API, "Backfilling and retrieving missing events".
 */

import type { EventId } from '../../kernel/matrix/ids.js';
import { parseEventId } from '../../kernel/matrix/ids.js';
import type { JsonValue } from '../../kernel/matrix/json.js';
import { isJsonObject } from '../../kernel/matrix/json.js';
import { MatrixError } from '../../kernel/matrix/matrix-error.js';
import { eventNidOf, loadRecord } from '../../store/events.js';
import type { EventNid } from '../../store/nids.js';
import type { StoreReader } from '../../store/open-store.js';
import type { Room } from '../../store/rooms.js';
import { eventContext, eventPrevs } from '../../store/timeline.js';
import type { Endpoint } from '../endpoint.js';
import { ok } from '../endpoint.js';
import { authenticated } from './authenticate.js';
import type { FederationContext } from './federation-context.js';
import { checkServerAcl, isAcceptedIn, knownRoom, roomIdOf } from './room-access.js';
import { checkServerMayAsk } from './sent-events.js';
import { visiblePdus } from './visible-events.js';

/** Events in one answer where the caller names no number. */
const LIMIT_DEFAULT = 10;
/** Most events in one answer. */
export const MISSING_EVENTS_MAX = 20;
/** Most events named by a caller in each list; extremities of a healthy room are a handful. */
const NAMED_EVENTS_MAX = 1000;

export function getMissingEvents(context: FederationContext): Endpoint {
  const { server } = context;
  return authenticated(context, {
    method: 'POST',
    path: '/_matrix/federation/v1/get_missing_events/{roomId}',
    answer: async ({ params, origin, content }) => {
      const room = knownRoom(server.store, roomIdOf(params.roomId));
      checkServerAcl(server.store, room, origin);
      if (!isJsonObject(content)) throw new MatrixError(400, 'M_BAD_JSON', 'the body is not an object');
      const asked: MissingEventsQuery = {
        latest: eventIds(content.latest_events, 'latest_events'),
        earliest: eventIds(content.earliest_events, 'earliest_events'),
        limit: Math.min(count(content.limit, LIMIT_DEFAULT, 'limit'), MISSING_EVENTS_MAX),
        minDepth: count(content.min_depth, 0, 'min_depth'),
      };
      await checkServerMayAsk(server, room, origin, asked.latest, false);
      const nids = missingEvents(server.store, room, asked);
      return ok({ events: await visiblePdus(server, room, origin, nids, true) });
    },
  });
}

interface MissingEventsQuery {
  readonly latest: readonly EventId[];
  readonly earliest: readonly EventId[];
  readonly limit: number;
  readonly minDepth: number;
}

/**
 * Breadth first from `latest` (not part of the answer) along prev_events, up to `earliest` (neither). Rejected events are
 * given too: accepted ones may follow upon them (server-server API, "Rejection"), and cannot be taken in without.
 */
function missingEvents(reader: StoreReader, room: Room, query: MissingEventsQuery): EventNid[] {
  const nidsOf = (ids: readonly EventId[]) =>
    ids.map((id) => eventNidOf(reader, id)).filter((nid) => nid !== undefined);
  const seen = new Set<EventNid>(nidsOf(query.earliest));
  const toVisit = nidsOf(query.latest).filter((nid) => !seen.has(nid) && isInTimelineOf(reader, room, nid));
  for (const nid of toVisit) seen.add(nid);
  const found: { readonly nid: EventNid; readonly depth: number }[] = [];
  for (let i = 0; i < toVisit.length && found.length < query.limit; i++) {
    for (const prev of eventPrevs(reader, toVisit[i] as EventNid)) {
      if (found.length >= query.limit || seen.has(prev)) continue;
      seen.add(prev);
      const depth = isInTimelineOf(reader, room, prev) ? loadRecord(reader, prev)?.depth : undefined;
      if (depth === undefined || depth < query.minDepth) continue;
      found.push({ nid: prev, depth });
      toVisit.push(prev);
    }
  }
  return found.sort((a, b) => a.depth - b.depth || a.nid - b.nid).map(({ nid }) => nid);
}

function isInTimelineOf(reader: StoreReader, room: Room, nid: EventNid): boolean {
  if (eventContext(reader, nid) === undefined) return isAcceptedIn(reader, room, nid);
  return loadRecord(reader, nid)?.roomNid === room.nid;
}

function eventIds(value: JsonValue | undefined, name: string): EventId[] {
  if (!Array.isArray(value) || value.length > NAMED_EVENTS_MAX) {
    throw new MatrixError(400, 'M_BAD_JSON', `${name} is not a list of at most ${NAMED_EVENTS_MAX} event IDs`);
  }
  return (value as readonly JsonValue[]).map((item) => {
    const id = parseEventId(item);
    if (id === undefined) throw new MatrixError(400, 'M_BAD_JSON', `${name} holds something that is not an event ID`);
    return id;
  });
}

function count(value: JsonValue | undefined, fallback: number, name: string): number {
  if (value === undefined || value === null) return fallback;
  if (typeof value !== 'number' || !Number.isSafeInteger(value) || value < 0) {
    throw new MatrixError(400, 'M_BAD_JSON', `${name} is not a natural number`);
  }
  return value;
}
