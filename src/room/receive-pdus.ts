/**
 * PDUs that another server pushed: verified together, then decided one after another in the room's queue. What an event
 * rests on and we lack is asked of who pushed it: prev_events once by `get_missing_events`, auth events one by one.
 * Specification v1.19, server-server API, "Receiving a PDU" and "Retrieving events".
 */

import type { EventId, RoomId, ServerName } from '../kernel/matrix/ids.js';
import { RemoteError } from '../remote/remote-error.js';
import { requestEvent, requestMissingEvents } from '../remote/state-requests.js';
import { eventVerdict, Verdict } from '../store/event-status.js';
import { eventIdOfNid, eventNidOf, loadEvent, loadRecord, referencedIds } from '../store/events.js';
import type { EventNid } from '../store/nids.js';
import type { Room } from '../store/rooms.js';
import { loadRoom } from '../store/rooms.js';
import { eventContext } from '../store/timeline.js';
import { acceptEvent } from './accept-event.js';
import { applyJudgements } from './intake/apply-judgements.js';
import { ingestPdus } from './intake/ingest-pdus.js';
import { judgeEvents } from './intake/judge-events.js';
import type { RoomServer } from './room-server.js';

/** Events asked for by one `get_missing_events`. */
const MISSING_EVENTS_MAX = 20;
/** Rounds of fetching auth events and their auth events. */
const AUTH_ROUNDS_MAX = 8;
/** Auth events fetched for one pushed event. */
const AUTH_EVENTS_FETCHED_MAX = 100;

/** What a transaction answers for one PDU; nothing for one that was taken in, rejected ones included. */
export interface PduAnswer {
  readonly error?: string;
}

/** Takes in PDUs of one room, each its JSON as received. Bad ones get an `error`; nothing is thrown for them. */
export async function receivePdus(
  server: RoomServer,
  origin: ServerName,
  roomId: RoomId,
  pdus: readonly Buffer[],
): Promise<ReadonlyMap<EventId, PduAnswer>> {
  const answers = new Map<EventId, PduAnswer>();
  const room = loadRoom(server.store, roomId);
  if (room === undefined || room.residency === 'absent') return answers;
  const nids = await storePdus(server, room, pdus, answers);
  await server.queues.run(roomId, async () => {
    const byDepth = [...nids].sort((a, b) => depthOf(server, a) - depthOf(server, b));
    for (const nid of byDepth) {
      const eventId = eventIdOfNid(server.store, nid);
      const error = await receiveOne(server, origin, room, nid);
      answers.set(eventId, error === undefined ? {} : { error });
    }
  });
  return answers;
}

function depthOf(server: RoomServer, nid: EventNid): number {
  return loadRecord(server.store, nid)?.depth ?? 0;
}

/** Verifies and stores; the ones that failed get their answer at once. */
async function storePdus(
  server: RoomServer,
  room: Room,
  pdus: readonly Buffer[],
  answers: Map<EventId, PduAnswer>,
): Promise<readonly EventNid[]> {
  const { nids, dropped } = await ingestPdus(server, room, pdus);
  for (const { eventId, reason } of dropped) if (eventId !== undefined) answers.set(eventId, { error: reason });
  return nids;
}

async function receiveOne(
  server: RoomServer,
  origin: ServerName,
  room: Room,
  nid: EventNid,
): Promise<string | undefined> {
  try {
    await fetchMissingPrevs(server, origin, room, nid);
    await fetchMissingAuth(server, origin, room, nid);
  } catch (error) {
    if (!(error instanceof RemoteError)) throw error;
    server.log.warn(
      { room: room.roomId, origin, error: error.message },
      'what a pushed event rests on is not to be had',
    );
  }
  const { verdict, reason } = await acceptEvent(server, room.roomId, nid);
  return verdict === 'dropped' ? (reason ?? 'dropped') : undefined;
}

function missingPrevs(server: RoomServer, room: Room, nid: EventNid): EventId[] {
  const event = loadEvent(server.store, room.rules, nid);
  return referencedIds(event?.json.prev_events).filter((id) => {
    const prev = eventNidOf(server.store, id);
    return prev === undefined || eventContext(server.store, prev) === undefined;
  });
}

async function fetchMissingPrevs(server: RoomServer, origin: ServerName, room: Room, nid: EventNid): Promise<void> {
  if (missingPrevs(server, room, nid).length === 0) return;
  const extremities = loadRoom(server.store, room.roomId)?.extremities ?? [];
  const events = await requestMissingEvents(server.client, origin, room.roomId, {
    earliest_events: extremities.map((extremity) => eventIdOfNid(server.store, extremity)),
    latest_events: [eventIdOfNid(server.store, nid)],
    limit: MISSING_EVENTS_MAX,
  });
  const fetched = await storePdus(server, room, events, new Map());
  for (const prev of [...fetched].sort((a, b) => depthOf(server, a) - depthOf(server, b))) {
    await fetchMissingAuth(server, origin, room, prev);
    await acceptEvent(server, room.roomId, prev);
  }
}

/** Fetches auth events that we lack, and what they rest on, then judges all of it. */
async function fetchMissingAuth(server: RoomServer, origin: ServerName, room: Room, nid: EventNid): Promise<void> {
  const fetched: EventNid[] = [];
  let frontier = [nid];
  for (let round = 0; round < AUTH_ROUNDS_MAX && frontier.length > 0; round++) {
    const missing = new Set<EventId>();
    for (const of of frontier) {
      const event = loadEvent(server.store, room.rules, of);
      for (const id of referencedIds(event?.json.auth_events)) {
        const known = eventNidOf(server.store, id);
        if (known === undefined || eventVerdict(server.store, known) === Verdict.none) missing.add(id);
      }
    }
    if (missing.size === 0 || fetched.length + missing.size > AUTH_EVENTS_FETCHED_MAX) break;
    const events = await Promise.all([...missing].map((id) => requestEvent(server.client, origin, id)));
    frontier = (await storePdus(server, room, events, new Map())).filter((found) =>
      missing.has(eventIdOfNid(server.store, found)),
    );
    fetched.push(...frontier);
  }
  const unjudged = fetched.filter((found) => eventVerdict(server.store, found) === Verdict.unjudged);
  if (unjudged.length === 0) return;
  const nids = Uint32Array.from(new Set(unjudged)).sort();
  const judgements = await judgeEvents(server, room, nids, 'interactive');
  server.store.write((writer) => applyJudgements(writer, room.nid, nids, judgements));
}
