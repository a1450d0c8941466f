/**
 * What happens to an event that is verified and stored: state before it, authorization, soft-fail, current state, and then
 * one write. The sequence of "Checks performed on receipt of a PDU", steps 4 to 6, and of MSC3902 while state is partial.
 *
 * Runs in the room's queue. Specification v1.19, server-server API, "Checks performed on receipt of a PDU".
 */

import { checkAuthRules } from '../kernel/event-auth/check-auth-rules.js';
import type { StateLookup } from '../kernel/event-auth/state-lookup.js';
import type { RoomId } from '../kernel/matrix/ids.js';
import { verifyInviteSignature } from '../kernel/signatures/verify-invite-signature.js';
import { eventStatus, StatusBit, setEventStatus, VERDICT_BITS, Verdict } from '../store/event-status.js';
import type { LoadedEvent } from '../store/events.js';
import { authEventOf, eventNidOf, loadEvent, referencedIds } from '../store/events.js';
import type { EventNid, StateGroupNid } from '../store/nids.js';
import { NO_EVENT } from '../store/nids.js';
import type { StoreReader, StoreWriter } from '../store/open-store.js';
import type { Refusal, Room } from '../store/rooms.js';
import { isPartialStateEvent, loadRoom, putRefusal } from '../store/rooms.js';
import { eventContext, eventContextIn, eventPrevs, isInGraph } from '../store/timeline.js';
import { followedEvents } from './followed-events.js';
import { removeEvent } from './intake/apply-judgements.js';
import { judgeEvents } from './intake/judge-events.js';
import { persistEvent, stateAfter } from './persist-event.js';
import type { RoomServer } from './room-server.js';
import { changedState, resolveSets, resolveStoredStates, storedState } from './room-state.js';

export interface Acceptance {
  readonly verdict: 'accepted' | 'rejected' | 'soft-failed' | 'dropped';
  /** Of what was dropped. */
  readonly code?: string;
  readonly reason?: string;
}

/**
 * What is written with an event where it is accepted, so that a crash leaves both or neither. `before`: the state before it.
 */
export type Alongside = (writer: StoreWriter, before: StateGroupNid) => void;

/** Decides about one stored, unjudged event (or outlier) and puts it into the timeline. Bad events are verdicts, never errors. */
export async function acceptEvent(
  server: RoomServer,
  roomId: RoomId,
  nid: EventNid,
  alongside?: Alongside,
): Promise<Acceptance> {
  const { store } = server;
  const room = loadRoom(store, roomId);
  if (room === undefined) return dropped('room-unknown', 'the room is not known here');
  const status = eventStatus(store, nid);
  if ((status & VERDICT_BITS) > Verdict.unjudged && (status & StatusBit.outlier) === 0) return standing(status);
  const event = loadEvent(store, room.rules, nid);
  if (event === undefined) return dropped('missing', 'the event is not stored');
  const prevs = prevNids(server, room, event);
  if (prevs === undefined) return dropped('prev-event-missing', 'its prev_events are not to be had in this room');
  if (leadsBack(server.store, room, nid, prevs))
    return dropped('prev-event-cycle', 'its prev_events lead back to itself');

  // 4. Passes authorization rules based on the event's auth events, otherwise it is rejected.
  const judgements = await judgeEvents(server, room, Uint32Array.of(nid), 'interactive');
  const judged = judgements.refusals[0];
  if (judged?.judgement === 'dropped') {
    store.write((writer) => {
      putRefusal(writer, room.nid, event.eventId, { verdict: 'dropped', code: judged.code, reason: judged.reason });
      removeEvent(writer, nid);
      // As if it had never come: when it comes again it is stored again.
      setEventStatus(writer, nid, Verdict.none);
    });
    return dropped(judged.code, judged.reason);
  }
  const partial = room.residency !== 'full-state' && prevs.some((prev) => isPartialStateEvent(store, room.nid, prev));
  const before = await stateBefore(server, room, prevs);
  let refusal: Refusal | undefined =
    judged === undefined ? undefined : { verdict: 'rejected', code: judged.code, reason: judged.reason };
  // 5. Passes authorization rules based on the state before the event, otherwise it is rejected.
  refusal ??= checkAgainst(room, event, await authorizingState(server, room, event, before, partial), 'rejected');
  // 6. Passes authorization rules based on the current state of the room, otherwise it is soft-failed. Not while that
  // state is partial, also where the event's own is whole.
  if (refusal === undefined && !partial && room.residency === 'full-state') {
    refusal = checkAgainst(room, event, storedState(store, room, room.currentGroup), 'soft-failed');
  }
  await persistAccepted(server, room, event, { prevs, before, partial, refusal }, alongside);
  if (refusal === undefined) server.onTimelineEvent(room.nid, nid);
  return refusal === undefined
    ? { verdict: 'accepted' }
    : { verdict: refusal.verdict as Acceptance['verdict'], reason: refusal.reason };
}

function dropped(code: string, reason: string): Acceptance {
  return { verdict: 'dropped', code, reason };
}

function standing(status: number): Acceptance {
  if ((status & VERDICT_BITS) === Verdict.rejected) return { verdict: 'rejected' };
  return { verdict: (status & StatusBit.softFailed) === 0 ? 'accepted' : 'soft-failed' };
}

/** The NIDs of the prev_events, or undefined when one of them has no state here, or is of another room. */
function prevNids(server: RoomServer, room: Room, event: LoadedEvent): EventNid[] | undefined {
  const prevs: EventNid[] = [];
  for (const id of referencedIds(event.json.prev_events)) {
    const prev = eventNidOf(server.store, id);
    if (prev === undefined || eventContextIn(server.store, room.nid, prev) === undefined) return undefined;
    prevs.push(prev);
  }
  return prevs;
}

/**
 * Whether an event that came as what lies behind a gap follows upon itself. Where servers choose event IDs (room versions 1
 * and 2) they can make such events; events with partial state that wait for one another would wait for ever.
 */
function leadsBack(reader: StoreReader, room: Room, nid: EventNid, prevs: readonly EventNid[]): boolean {
  if (room.rules.eventIdForm !== 'domain' || eventContext(reader, nid) === undefined) return false;
  const seen = new Set<EventNid>();
  const toVisit = [...prevs];
  for (let prev = toVisit.pop(); prev !== undefined; prev = toVisit.pop()) {
    if (prev === nid) return true;
    if (seen.has(prev) || !isPartialStateEvent(reader, room.nid, prev)) continue;
    seen.add(prev);
    toVisit.push(...eventPrevs(reader, prev));
  }
  return false;
}

/** The state before an event: the states after its prev_events, resolved. */
export function stateBefore(server: RoomServer, room: Room, prevs: readonly EventNid[]): Promise<StateGroupNid> {
  const groups = prevs.map((prev) => eventContext(server.store, prev)?.after ?? (0 as StateGroupNid));
  return resolveStoredStates(server, room, groups, 'interactive');
}

/**
 * The state an event is authorised on. While it is partial, that state and the event's own auth events are resolved: a known
 * ban holds, an unknown membership is believed. The result serves this check only (MSC3902).
 */
export async function authorizingState(
  server: RoomServer,
  room: Room,
  event: LoadedEvent,
  before: StateGroupNid,
  partial: boolean,
): Promise<StateLookup> {
  const base = storedState(server.store, room, before);
  if (!partial) return base;
  const overlay = event.record.authNids.filter((nid) => nid !== NO_EVENT);
  if (room.rules.roomIdIsCreateEventHash) overlay.push(room.createNid);
  const sets = [
    { group: before, overlay: [] },
    { group: 0 as StateGroupNid, overlay },
  ];
  const { changes } = await resolveSets(server, room, sets, 'interactive');
  return changedState(server.store, room, base, changes);
}

/** The refusal where the rules do not allow the event on `state`. */
export function checkAgainst(
  room: Room,
  event: LoadedEvent,
  state: StateLookup,
  verdict: 'rejected' | 'soft-failed',
): Refusal | undefined {
  const result = checkAuthRules(room.rules, authEventOf(event, room.roomId), state, { verifyInviteSignature });
  return result.allowed ? undefined : { verdict, code: result.code, reason: result.reason };
}

/** Writes a decided event into the timeline, with the current state that follows from it. */
export async function persistAccepted(
  server: RoomServer,
  room: Room,
  event: LoadedEvent,
  decided: { prevs: readonly EventNid[]; before: StateGroupNid; partial: boolean; refusal: Refusal | undefined },
  alongside?: Alongside,
): Promise<void> {
  const { prevs, before, partial, refusal } = decided;
  const plan = { nid: event.nid, before, refusal };
  const followed = followedEvents(server.store, prevs);
  const others = room.extremities.filter((nid) => !followed.has(nid));
  // What comes after its followers (the history before our join, what lay behind a gap) ends nothing.
  const isFollowed = isInGraph(server.store, event.nid);
  const isEnd = refusal === undefined && (others.length === 0 || !isFollowed);
  // Refused and followed: who follows upon it follows upon what stands behind it. There is an end after its followers.
  const ends = isEnd || (isFollowed && others.length > 0);
  let current: StateGroupNid | undefined;
  if (ends && others.length > 0) {
    const groups = others.map((nid) => eventContext(server.store, nid)?.after ?? (0 as StateGroupNid));
    if (isEnd) groups.unshift(server.store.write((writer) => stateAfter(writer, room, plan, event.record)));
    current = await resolveStoredStates(server, room, groups, 'interactive');
  }
  server.store.write((writer) => {
    persistEvent(writer, room, room, {
      ...plan,
      eventId: event.eventId,
      prevs,
      partial,
      extremities: !ends ? undefined : isEnd ? [...others, event.nid] : others,
      current,
      ownServer: server.serverName,
    });
    if (refusal === undefined) alongside?.(writer, before);
  });
}
