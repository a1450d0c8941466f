/**
 * Pushed events that follow upon one another, as nearly all do, decided in one write: a transaction of 50 messages waits for
 * the disk once and not 50 times. Each is checked like any other, on the state that the one before it left (steps 4 to 6 of
 * "Checks performed on receipt of a PDU"); the first that needs more than that ends the run and is for accept-event.ts: a
 * fork, a gap, a refusal, partial state.
 *
 * Runs in the room's queue. Specification v1.19, server-server API, "Checks performed on receipt of a PDU".
 */

import type { AuthEvent } from '../../kernel/matrix/auth-event.js';
import type { RoomId } from '../../kernel/matrix/ids.js';
import { eventVerdict, Verdict } from '../../store/event-status.js';
import type { LoadedEvent } from '../../store/events.js';
import { eventNidOf, loadEvent, referencedIds } from '../../store/events.js';
import type { EventNid, StateGroupNid } from '../../store/nids.js';
import type { StoreWriter } from '../../store/open-store.js';
import type { Room } from '../../store/rooms.js';
import { loadRoom } from '../../store/rooms.js';
import { eventContext, eventContextIn, isInGraph } from '../../store/timeline.js';
import { checkAgainst } from '../accept-event.js';
import { followedEvents } from '../followed-events.js';
import { persistEvent } from '../persist-event.js';
import type { RoomServer } from '../room-server.js';
import { storedState } from '../room-state.js';
import { judgeEvents } from './judge-events.js';

/** Events of one write: some 15 ms of the main thread. */
export const TOGETHER_EVENTS_MAX = 50;

interface Candidate {
  readonly event: LoadedEvent;
  readonly prevs: readonly EventNid[];
}

/** Accepts as many of `nids` as it can, from the first on, and says how many: possibly none. `nids`: oldest first. */
export async function acceptTogether(server: RoomServer, roomId: RoomId, nids: readonly EventNid[]): Promise<number> {
  const room = loadRoom(server.store, roomId);
  if (room?.residency !== 'full-state') return 0;
  const candidates = candidatesAmong(server, room, nids.slice(0, TOGETHER_EVENTS_MAX));
  if (candidates.length < 2) return 0;
  const judged = Uint32Array.from(candidates, ({ event }) => event.nid).sort();
  const { refusals } = await judgeEvents(server, room, judged, 'interactive');
  const refused = new Set(refusals.map(({ nid }) => nid));
  const first = candidates.findIndex(({ event }) => refused.has(event.nid));
  const allowed = first < 0 ? candidates : candidates.slice(0, first);
  const accepted: EventNid[] = [];
  const loaded = new Map<EventNid, AuthEvent | undefined>();
  server.store.write((writer) => {
    for (const candidate of allowed) {
      if (!acceptNext(server, writer, roomId, candidate, loaded)) break;
      accepted.push(candidate.event.nid);
    }
  });
  for (const nid of accepted) server.onTimelineEvent(room.nid, nid);
  return accepted.length;
}

/** New events from the first on whose prev_events and auth events are all at hand, or among those before them. */
function candidatesAmong({ store }: RoomServer, room: Room, nids: readonly EventNid[]): Candidate[] {
  const candidates: Candidate[] = [];
  const before = new Set<EventNid>();
  for (const nid of nids) {
    const event = loadEvent(store, room.rules, nid);
    if (event === undefined || before.has(nid) || isInGraph(store, nid)) break;
    if (eventVerdict(store, nid) !== Verdict.unjudged) break;
    const prevs = referencedIds(event.json.prev_events).map((id) => eventNidOf(store, id));
    const hasPrevs = prevs.every(
      (prev) => prev !== undefined && (before.has(prev) || eventContextIn(store, room.nid, prev) !== undefined),
    );
    const hasAuth = referencedIds(event.json.auth_events).every((id) => {
      const auth = eventNidOf(store, id);
      return auth !== undefined && (before.has(auth) || eventVerdict(store, auth) > Verdict.unjudged);
    });
    if (!hasPrevs || !hasAuth) break;
    candidates.push({ event, prevs: prevs as EventNid[] });
    before.add(nid);
  }
  return candidates;
}

/** Accepts one event on the state that the write has come to; false, and nothing written, where it is not that simple. */
function acceptNext(
  server: RoomServer,
  writer: StoreWriter,
  roomId: RoomId,
  { event, prevs }: Candidate,
  loaded: Map<EventNid, AuthEvent | undefined>,
): boolean {
  const room = loadRoom(writer, roomId);
  const before = singleStateAfter(writer, prevs);
  if (room === undefined || before === undefined) return false;
  const followed = followedEvents(writer, prevs);
  if (isInGraph(writer, event.nid) || room.extremities.some((nid) => !followed.has(nid))) return false;
  for (const group of new Set([before, room.currentGroup]))
    if (checkAgainst(room, event, storedState(writer, room, group, loaded), 'rejected') !== undefined) return false;
  persistEvent(writer, room, room, {
    nid: event.nid,
    eventId: event.eventId,
    prevs,
    before,
    refusal: undefined,
    partial: false,
    extremities: [event.nid],
    current: undefined,
    ownServer: server.serverName,
  });
  return true;
}

/** The state after all of some events, where it is the same. */
function singleStateAfter(writer: StoreWriter, prevs: readonly EventNid[]): StateGroupNid | undefined {
  const groups = new Set(prevs.map((prev) => eventContext(writer, prev)?.after));
  const [only] = groups;
  return groups.size === 1 ? only : undefined;
}
