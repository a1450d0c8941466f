/**
 * Auth events that a pushed event rests on and we lack, asked of who pushed it: one by one for a few rounds, then once the
 * whole auth chain, for whoever has changed his profile a hundred times has a chain of a hundred memberships. What was
 * fetched, and what a resync has stored and not judged yet, is judged.
 * Specification v1.19, server-server API, "Retrieving events" and "Checks performed on receipt of a PDU", step 4.
 */

import type { EventId, ServerName } from '../../kernel/matrix/ids.js';
import { RemoteError } from '../../remote/remote-error.js';
import { SplitError } from '../../remote/split-response.js';
import { requestAuthChain, requestEvent } from '../../remote/state-requests.js';
import { eventVerdict, Verdict } from '../../store/event-status.js';
import { eventIdOfNid, eventNidOf, loadEvent, referencedIds } from '../../store/events.js';
import type { EventNid } from '../../store/nids.js';
import type { Room } from '../../store/rooms.js';
import type { RoomServer } from '../room-server.js';
import { applyJudgements } from './apply-judgements.js';
import { askedState, EventIngest } from './ingest-events.js';
import { ingestPdus } from './ingest-pdus.js';
import { judgeEvents } from './judge-events.js';

/** Rounds of fetching auth events and their auth events one by one. */
export const AUTH_ROUNDS_MAX = 4;
/** Auth events fetched so for one pushed event. */
const AUTH_EVENTS_FETCHED_MAX = 100;
/** Events of one auth chain: Matrix HQ's have some 1,600. */
const AUTH_CHAIN_EVENTS_MAX = 20_000;
/** Events without a verdict that are looked at for one pushed event. */
const UNJUDGED_EVENTS_MAX = AUTH_CHAIN_EVENTS_MAX;

/** Fetches auth events that we lack, and what they rest on, then judges all of it. Throws RemoteError. */
export async function fetchMissingAuth(
  server: RoomServer,
  origin: ServerName,
  room: Room,
  nid: EventNid,
): Promise<void> {
  const unjudged = new Set<EventNid>();
  let frontier = [nid];
  let fetched = 0;
  for (let round = 1; frontier.length > 0 && unjudged.size <= UNJUDGED_EVENTS_MAX; ) {
    const open = openAuth(server, room, frontier);
    frontier = [...open.unjudged].filter((auth) => !unjudged.has(auth));
    for (const auth of frontier) unjudged.add(auth);
    if (open.missing.size === 0) continue;
    fetched += open.missing.size;
    if (round > AUTH_ROUNDS_MAX || fetched > AUTH_EVENTS_FETCHED_MAX) {
      await fetchAuthChain(server, origin, room, nid);
      for (const auth of unjudgedBehind(server, room, nid)) unjudged.add(auth);
      break;
    }
    for (const auth of await fetchEvents(server, origin, room, open.missing)) {
      if (unjudged.has(auth)) continue;
      unjudged.add(auth);
      frontier.push(auth);
    }
    round += 1;
  }
  if (unjudged.size > 0) await judge(server, room, unjudged);
}

/** Auth events of these that are not here, and those that are and have no verdict yet. */
function openAuth(
  server: RoomServer,
  room: Room,
  nids: readonly EventNid[],
): { readonly missing: ReadonlySet<EventId>; readonly unjudged: ReadonlySet<EventNid> } {
  const missing = new Set<EventId>();
  const unjudged = new Set<EventNid>();
  for (const nid of nids) {
    for (const id of referencedIds(loadEvent(server.store, room.rules, nid)?.json.auth_events)) {
      const known = eventNidOf(server.store, id);
      const verdict = known === undefined ? Verdict.none : eventVerdict(server.store, known);
      if (known === undefined || verdict === Verdict.none) missing.add(id);
      // A resync has stored it: it would count as missing, and so would what rests on it.
      else if (verdict === Verdict.unjudged) unjudged.add(known);
    }
  }
  return { missing, unjudged };
}

/** Stores events that are asked for by their IDs, those that came. */
async function fetchEvents(
  server: RoomServer,
  origin: ServerName,
  room: Room,
  ids: ReadonlySet<EventId>,
): Promise<EventNid[]> {
  const events = await Promise.all([...ids].map((id) => requestEvent(server.client, origin, id)));
  const { nids } = await ingestPdus(server, room, events);
  return nids.filter((nid) => ids.has(eventIdOfNid(server.store, nid)));
}

/**
 * Stores the auth chain of an event. One at a time for a room and who is asked: pushed events of one sender need the same, and
 * a server that does not answer must hold up nobody else.
 */
async function fetchAuthChain(server: RoomServer, origin: ServerName, room: Room, nid: EventNid): Promise<void> {
  await server.queues.run(`${room.roomId} auth chain ${origin}`, async () => {
    const { missing } = openAuth(server, room, [nid, ...unjudgedBehind(server, room, nid)]);
    if (missing.size === 0) return;
    const ingest = new EventIngest(server, {
      ...askedState(room),
      lane: 'interactive',
      index: undefined,
      eventsMax: AUTH_CHAIN_EVENTS_MAX,
    });
    const { body } = await requestAuthChain(server.client, origin, room.roomId, eventIdOfNid(server.store, nid));
    try {
      await ingest.read(body, new Set(['auth_chain']), () => undefined);
    } catch (error) {
      if (!(error instanceof SplitError)) throw error;
      throw new RemoteError('malformed', origin, `event_auth: ${error.message}`, { cause: error });
    }
    await ingest.finish();
  });
}

/** The events without a verdict that an event rests on, as far as they are stored. */
function unjudgedBehind(server: RoomServer, room: Room, nid: EventNid): EventNid[] {
  const found = new Set<EventNid>();
  for (let frontier = [nid]; frontier.length > 0 && found.size <= UNJUDGED_EVENTS_MAX; ) {
    frontier = [...openAuth(server, room, frontier).unjudged].filter((auth) => !found.has(auth));
    for (const auth of frontier) found.add(auth);
  }
  return [...found];
}

/** In the queue: verdicts there must not change between judging by them and writing what follows from them. */
async function judge(server: RoomServer, room: Room, events: ReadonlySet<EventNid>): Promise<void> {
  await server.queues.run(room.roomId, async () => {
    const unjudged = [...events].filter((nid) => eventVerdict(server.store, nid) === Verdict.unjudged);
    if (unjudged.length === 0) return;
    const nids = Uint32Array.from(unjudged).sort();
    const judgements = await judgeEvents(server, room, nids, 'interactive');
    server.store.write((writer) => applyJudgements(writer, room, nids, judgements));
  });
}
