/**
 * The one function that puts an event into a room's timeline: our own and other servers', while the room has partial state
 * and when it has full state. Everything that follows from the decision is one write.
 */

import type { EventId, ServerName, UserId } from '../kernel/matrix/ids.js';
import { serverNameOf } from '../kernel/matrix/ids.js';
import type { EventRecord } from '../store/event-record.js';
import { isJoinRecord, recordStateKey } from '../store/event-record.js';
import { StatusBit, setEventStatus, Verdict } from '../store/event-status.js';
import { loadRecord } from '../store/events.js';
import type { EventNid, StateGroupNid, StreamPosition } from '../store/nids.js';
import { NO_EVENT } from '../store/nids.js';
import type { StoreReader, StoreWriter } from '../store/open-store.js';
import type { Refusal, Residency, RoomRow } from '../store/rooms.js';
import {
  addJoinedCounts,
  forgetDropped,
  isServerJoined,
  loadRoomByNid,
  markPartialStateEvent,
  putRefusal,
  putRoom,
} from '../store/rooms.js';
import { changeStateGroup, differingEntries, internStateKey, stateEvent } from '../store/state-groups.js';
import {
  appendToStream,
  localMembership,
  markFollowed,
  putEventContext,
  putEventPrevs,
  putLocalMembership,
  streamPosition,
} from '../store/timeline.js';
import { followedEvents } from './followed-events.js';
import { keepRedaction, refreshRedactions } from './redactions/apply-redactions.js';
import type { StateRoom } from './room-state.js';

export interface PersistPlan {
  readonly nid: EventNid;
  readonly eventId: EventId;
  readonly prevs: readonly EventNid[];
  readonly before: StateGroupNid;
  /** Undefined: accepted. */
  readonly refusal: Refusal | undefined;
  readonly partial: boolean;
  /** Forward extremities after the event; undefined: it changes none, nor the current state (most refused events). */
  readonly extremities: readonly EventNid[] | undefined;
  /** The current state after the event; undefined: the state after the event itself. */
  readonly current: StateGroupNid | undefined;
  readonly ownServer: ServerName;
}

/** The group after an event: `before`, with the event where it is state and accepted. */
export function stateAfter(
  writer: StoreWriter,
  room: StateRoom,
  plan: Pick<PersistPlan, 'nid' | 'before' | 'refusal'>,
  record: EventRecord,
): StateGroupNid {
  if (record.stateKey === undefined || plan.refusal?.verdict === 'rejected') return plan.before;
  return changeStateGroup(writer, plan.before, [
    [internStateKey(writer, room.nid, record.type, record.stateKey), plan.nid],
  ]);
}

/** Writes one decided event of the timeline. `row`: the room before it. */
export function persistEvent(writer: StoreWriter, room: StateRoom, row: RoomRow, plan: PersistPlan): void {
  const record = loadRecord(writer, plan.nid);
  if (record === undefined) throw new Error(`event ${plan.eventId} was to be persisted but is not stored`);
  const verdict = plan.refusal?.verdict;
  const status = verdict === 'rejected' ? Verdict.rejected : Verdict.accepted;
  setEventStatus(writer, plan.nid, status | (verdict === 'soft-failed' ? StatusBit.softFailed : 0));
  if (plan.refusal === undefined) forgetDropped(writer, room.nid, plan.eventId);
  else putRefusal(writer, room.nid, plan.eventId, plan.refusal);
  putEventPrevs(writer, plan.nid, plan.prevs);
  const after = stateAfter(writer, room, plan, record);
  putEventContext(writer, plan.nid, { before: plan.before, after });
  if (plan.partial) markPartialStateEvent(writer, room.nid, plan.nid);
  keepRedaction(writer, room, plan.nid, record.type);
  if (plan.extremities !== undefined) markFollowed(writer, followedEvents(writer, plan.prevs));
  const currentGroup = plan.extremities === undefined ? row.currentGroup : (plan.current ?? after);
  if (currentGroup !== row.currentGroup)
    addJoinedCounts(writer, room.nid, joinedChanges(writer, row.currentGroup, currentGroup));
  if (plan.extremities !== undefined) {
    const isOurs = isServerJoined(writer, room.nid, plan.ownServer);
    // What others say of our last user while the state is partial may be wrong: only the full state tells.
    const isUncertain = plan.partial && serverNameOf(record.sender) !== plan.ownServer;
    const residency = residencyAfter(row.residency, isOurs, isUncertain);
    putRoom(writer, room.nid, { ...row, residency, extremities: plan.extremities, currentGroup });
  }
  if (verdict === undefined) showAccepted(writer, room, plan.nid);
  else refreshRedactions(writer, room, plan.nid);
  const atStake = [...differingEntries(writer, [row.currentGroup, currentGroup])].flatMap(
    ([, nids]) => nids as EventNid[],
  );
  if (verdict === undefined) atStake.unshift(plan.nid);
  correctMemberships(writer, room, currentGroup, atStake, plan.ownServer);
}

/**
 * Our users' memberships are what the current state says. An event on a fork may have lost there, and one that is no
 * membership may have brought forks together. `atStake`: events that came into the state or went out of it.
 */
export function correctMemberships(
  writer: StoreWriter,
  room: StateRoom,
  group: StateGroupNid,
  atStake: Iterable<EventNid>,
  ownServer: ServerName,
): void {
  for (const user of localUsersIn(writer, atStake, ownServer))
    correctMembership(writer, room, group, user, streamPosition(writer));
}

/** Our users whose memberships are among some events. */
export function localUsersIn(reader: StoreReader, events: Iterable<EventNid>, ownServer: ServerName): Set<UserId> {
  const users = new Set<UserId>();
  for (const nid of events) {
    const user = localUserOf(reader, nid, ownServer);
    if (user !== undefined) users.add(user);
  }
  return users;
}

/** Our user whose membership an event is, or undefined. */
export function localUserOf(reader: StoreReader, nid: EventNid, ownServer: ServerName): UserId | undefined {
  const record = nid === NO_EVENT ? undefined : reader.tables.event_record_by_nid.getBinaryFast(nid);
  const [type, user] = (record === undefined ? undefined : recordStateKey(record)) ?? [];
  return type === 'm.room.member' && serverNameOf(user as UserId) === ownServer ? (user as UserId) : undefined;
}

/**
 * Our user's membership as the state has it. Where it has none any more (a resolution left the join out, and nothing came in its
 * place) the stay is over all the same: others do not count the user in, nor take in what the user says.
 */
export function correctMembership(
  writer: StoreWriter,
  room: StateRoom,
  group: StateGroupNid,
  user: UserId,
  position: StreamPosition,
): void {
  const told = localMembership(writer, user, room.nid);
  const nid = stateEvent(writer, room.nid, group, 'm.room.member', user);
  const record = nid === NO_EVENT ? undefined : loadRecord(writer, nid);
  const now =
    record === undefined
      ? told && { membership: 'leave' as const, event: told.event }
      : { membership: record.membership, event: nid };
  if (now === undefined || (now.event === told?.event && now.membership === told.membership)) return;
  putLocalMembership(writer, user, room.nid, { ...now, position });
}

/** Clients see an accepted event; a redaction only when it applies. */
export function showAccepted(writer: StoreWriter, room: StateRoom, nid: EventNid): void {
  if (!writer.tables.redaction_targets.has(nid)) appendToStream(writer, room.nid, nid);
  refreshRedactions(writer, room, nid);
}

/**
 * partial-state -> paused when our last user leaves, and not when others remove him by what is not certain yet;
 * paused -> partial-state when one of our users is back.
 */
function residencyAfter(residency: Residency, isOurs: boolean, isUncertain: boolean): Residency {
  if (residency === 'full-state' || residency === 'absent') return residency;
  if (isOurs) return 'partial-state';
  return isUncertain ? residency : 'paused';
}

/** How the number of joined members of each server changes between two states. */
export function joinedChanges(reader: StoreReader, from: StateGroupNid, to: StateGroupNid): Map<ServerName, number> {
  const changes = new Map<ServerName, number>();
  for (const [, [before, after]] of differingEntries(reader, [from, to])) {
    countJoined(reader, before as EventNid, -1, changes);
    countJoined(reader, after as EventNid, 1, changes);
  }
  return changes;
}

/** Adds `by` for the member event's server when it is a join. */
export function countJoined(reader: StoreReader, nid: EventNid, by: number, changes: Map<ServerName, number>): void {
  const record = nid === NO_EVENT ? undefined : reader.tables.event_record_by_nid.getBinaryFast(nid);
  const [, user] = record !== undefined && isJoinRecord(record) ? (recordStateKey(record) ?? []) : [];
  if (user === undefined) return;
  const server = serverNameOf(user as UserId);
  changes.set(server, (changes.get(server) ?? 0) + by);
}

/** The room's row as it is now; for a plan that was made in the room's queue. */
export function currentRow(reader: StoreReader, room: Pick<StateRoom, 'nid'>): RoomRow {
  const row = loadRoomByNid(reader, room.nid);
  if (row === undefined) throw new Error(`room ${room.nid} has no row`);
  return row;
}
