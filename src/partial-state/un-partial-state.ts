/**
 * From partial to full state: works forward over the events that came while the state was partial, gives each its full
 * state, authorises it again, flips verdicts that were wrong; then current state, forward extremities and the flag, in one
 * write. MSC3902: "work forward through the event DAG, recalculating the state at each event, and rechecking event
 * authorisation".
 *
 * Runs in the room's queue: nothing is accepted meanwhile. A crash in between leaves marks on the events that are still
 * partial and the room partial; the next resync starts from them.
 */

import type { RoomId, ServerName } from '../kernel/matrix/ids.js';
import { checkAgainst } from '../room/accept-event.js';
import { followedEvents } from '../room/followed-events.js';
import { judgeEvents } from '../room/intake/judge-events.js';
import { inTurns } from '../room/intake/place-state.js';
import { correctMembership, countJoined, localUserOf, localUsersIn } from '../room/persist-event.js';
import type { RoomServer } from '../room/room-server.js';
import { resolveStoredStates, storedState } from '../room/room-state.js';
import { eventVerdict, Verdict } from '../store/event-status.js';
import { loadEvent } from '../store/events.js';
import type { EventNid, RoomNid, StateGroupNid, StreamPosition } from '../store/nids.js';
import type { StoreReader } from '../store/open-store.js';
import { takeNumbers } from '../store/open-store.js';
import type { Refusal, Room } from '../store/rooms.js';
import {
  addJoinedCounts,
  clearedEvents,
  clearPartialStateEvent,
  forgetPartialStateEvents,
  hasFlipped,
  joinedServers,
  loadPartialState,
  loadRoom,
  markFlipped,
  partialStateEvents,
  putRoom,
  removePartialState,
} from '../store/rooms.js';
import { stateNids } from '../store/state-groups.js';
import { eventContext, eventContextIn, eventPrevs, localMembership } from '../store/timeline.js';
import { VerdictHandOn } from './hand-on-verdicts.js';
import { putVerdict } from './put-verdict.js';

/** The full state after events that we do not have ourselves. */
export type FetchedStates = ReadonlyMap<EventNid, StateGroupNid>;

/**
 * Makes the room's state full. `fetched`: the full state after each prev_event that we lack. False, and nothing is changed,
 * where one more is needed: a join of ours came since they were fetched. Rejects with the signal's reason.
 */
export function unPartialState(
  server: RoomServer,
  roomId: RoomId,
  fetched: FetchedStates,
  signal: AbortSignal,
): Promise<boolean> {
  return server.queues.run(roomId, async () => {
    // Our last user may have left while this waited in the queue.
    signal.throwIfAborted();
    const room = loadRoom(server.store, roomId);
    const row = room === undefined ? undefined : loadPartialState(server.store, room.nid);
    if (room === undefined || row === undefined) return true;
    const order = inOrder(server.store, partialStateEvents(server.store, room.nid));
    for (const nid of order) if (lacksPrevs(server.store, room.nid, nid, fetched)) return false;
    const progress = server.progressOf(roomId);
    const waiting = new Set(order);
    const handOn = new VerdictHandOn(server, room);
    const stage = progress.start('un_partial_stating', order.length);
    for (const nid of order) {
      const before = await fullStateBefore(server, room, nid, fetched);
      waiting.delete(nid);
      if (await recheckEvent(server, room, nid, before)) await handOn.handOn(nid, waiting);
      stage.done += 1;
    }
    await completeRoom(server, roomId, fetched);
    progress.end('un_partial_stating');
    return true;
  });
}

/** Kahn's order over prev_events. */
function inOrder(reader: StoreReader, nids: readonly EventNid[]): EventNid[] {
  const prevsLeft = new Map(nids.map((nid) => [nid, 0]));
  const followers = new Map<EventNid, EventNid[]>();
  for (const nid of nids) {
    for (const prev of new Set(eventPrevs(reader, nid))) {
      if (!prevsLeft.has(prev)) continue;
      prevsLeft.set(nid, (prevsLeft.get(nid) ?? 0) + 1);
      const known = followers.get(prev);
      if (known === undefined) followers.set(prev, [nid]);
      else known.push(nid);
    }
  }
  const order = nids.filter((nid) => prevsLeft.get(nid) === 0);
  for (let i = 0; i < order.length; i++) {
    for (const nid of followers.get(order[i] as EventNid) ?? []) {
      const left = (prevsLeft.get(nid) ?? 0) - 1;
      prevsLeft.set(nid, left);
      if (left === 0) order.push(nid);
    }
  }
  if (order.length < nids.length) throw new Error('events with partial state rest on one another in a circle');
  return order;
}

/** Whether an event of the timeline has prev_events that are neither in the timeline nor among `fetched`. */
export function lacksPrevs(reader: StoreReader, room: RoomNid, nid: EventNid, fetched?: FetchedStates): boolean {
  return eventPrevs(reader, nid).some(
    (prev) => eventContextIn(reader, room, prev) === undefined && !fetched?.has(prev),
  );
}

/** The state before an event: after its prev_events that we have, and as fetched after the others, resolved. */
function fullStateBefore(
  server: RoomServer,
  room: Room,
  nid: EventNid,
  fetched: FetchedStates,
): Promise<StateGroupNid> {
  const groups = eventPrevs(server.store, nid).flatMap(
    (prev) => eventContextIn(server.store, room.nid, prev)?.after ?? fetched.get(prev) ?? [],
  );
  return resolveStoredStates(server, room, groups, 'bulk');
}

/**
 * Authorises one event again, on its full state, and clears its mark. Where its verdict flips the mark stays, and says so:
 * true, and whoever hands the flip on clears it, so that a crash in between forgets nothing.
 */
async function recheckEvent(server: RoomServer, room: Room, nid: EventNid, before: StateGroupNid): Promise<boolean> {
  const event = loadEvent(server.store, room.rules, nid);
  if (event === undefined) throw new Error(`event ${nid} has partial state but no body`);
  const judgements = await judgeEvents(server, room, Uint32Array.of(nid), 'bulk');
  const judged = judgements.refusals[0];
  const refusal: Refusal | undefined =
    judged === undefined
      ? checkAgainst(room, event, storedState(server.store, room, before), 'rejected')
      : { verdict: 'rejected', code: judged.code, reason: judged.reason };
  const wasRejected = eventVerdict(server.store, nid) === Verdict.rejected;
  const flips = wasRejected !== (refusal !== undefined) || hasFlipped(server.store, room.nid, nid);
  server.store.write((writer) => {
    putVerdict(writer, room, event, before, refusal, server.serverName);
    if (flips) markFlipped(writer, room.nid, nid);
    else clearPartialStateEvent(writer, room.nid, nid);
  });
  return flips;
}

async function completeRoom(server: RoomServer, roomId: RoomId, fetched: FetchedStates): Promise<void> {
  const { store } = server;
  const room = loadRoom(store, roomId);
  if (room === undefined) throw new Error(`room ${roomId} is gone in the middle of its resynchronisation`);
  // All of them, also those that were done when the server crashed in between.
  const cleared = clearedEvents(store, room.nid);
  const extremities = await acceptedExtremities(server, room, cleared);
  const groups = extremities.flatMap((nid) => eventContext(store, nid)?.after ?? []);
  // Where nothing of ours was accepted after all, the room is as others have it.
  const currentGroup = await resolveStoredStates(
    server,
    room,
    groups.length > 0 ? groups : [...fetched.values()],
    'bulk',
  );
  const joined = new Map<ServerName, number>();
  // Whom partial state told of a membership that the full state has otherwise; also by history that is not marked as partial.
  const told = localUsersIn(store, cleared, server.serverName);
  const noteTold = (nid: EventNid) => {
    const user = localUserOf(store, nid, server.serverName);
    if (user !== undefined && localMembership(store, user, room.nid) !== undefined) told.add(user);
  };
  await inTurns(stateNids(store, room.currentGroup), (nid) => noteTold(nid as EventNid));
  await inTurns(stateNids(store, currentGroup), (nid) => {
    countJoined(store, nid as EventNid, 1, joined);
    noteTold(nid as EventNid);
  });
  for (const [name, count] of [...joinedServers(store, room.nid)]) joined.set(name, (joined.get(name) ?? 0) - count);
  store.write((writer) => {
    const position = takeNumbers(writer, 'next_stream_position', 1) as StreamPosition;
    for (const user of told) correctMembership(writer, room, currentGroup, user, position);
    putRoom(writer, room.nid, { ...room, residency: 'full-state', currentGroup, extremities });
    addJoinedCounts(writer, room.nid, joined);
    removePartialState(writer, room.nid);
    forgetPartialStateEvents(writer, room.nid);
    // Clients whose token is older have not seen the whole room: sync/ tells them.
    writer.tables.meta.put(`completed_position:${room.nid}`, position);
  });
}

/** Forward extremities; a rejected one gives way to its prev_events. None that an accepted event follows upon. */
async function acceptedExtremities(
  { store }: RoomServer,
  room: Room,
  cleared: readonly EventNid[],
): Promise<EventNid[]> {
  const accepted = new Set<EventNid>();
  const toVisit = [...room.extremities];
  for (let nid = toVisit.pop(); nid !== undefined; nid = toVisit.pop()) {
    if (eventVerdict(store, nid) === Verdict.accepted) accepted.add(nid);
    else toVisit.push(...eventPrevs(store, nid));
  }
  const ends = new Set(room.extremities);
  const endsBehind = [...accepted].some((nid) => !ends.has(nid));
  const takeOutFollowed = (nid: number) => {
    const event = nid as EventNid;
    if (eventVerdict(store, event) !== Verdict.accepted) return;
    for (const prev of followedEvents(store, eventPrevs(store, event))) accepted.delete(prev);
  };
  for (const nid of new Set([...cleared, ...accepted])) takeOutFollowed(nid);
  // What stands behind a rejected end may have been followed long since, by any event of the timeline.
  if (endsBehind) await inTurns(knownNids(store), takeOutFollowed);
  return [...accepted].filter((nid) => eventContext(store, nid) !== undefined);
}

function* knownNids(reader: StoreReader): Generator<number> {
  const end = (reader.tables.meta.get('next_event_nid') as number | undefined) ?? 1;
  for (let nid = 1; nid < end; nid++) yield nid;
}
