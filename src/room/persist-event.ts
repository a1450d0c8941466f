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
import type { EventNid, StateGroupNid } from '../store/nids.js';
import { NO_EVENT } from '../store/nids.js';
import type { StoreReader, StoreWriter } from '../store/open-store.js';
import type { Refusal, Residency, RoomRow } from '../store/rooms.js';
import {
  addJoinedCounts,
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
  /** The room's row after the event but for its `currentGroup`, which `current` gives. */
  readonly extremities: readonly EventNid[];
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
  if (plan.refusal !== undefined) putRefusal(writer, room.nid, plan.eventId, plan.refusal);
  putEventPrevs(writer, plan.nid, plan.prevs);
  const after = stateAfter(writer, room, plan, record);
  putEventContext(writer, plan.nid, { before: plan.before, after });
  if (plan.partial) markPartialStateEvent(writer, room.nid, plan.nid);
  keepRedaction(writer, room, plan.nid, record.type);
  if (verdict !== undefined) {
    refreshRedactions(writer, room, plan.nid);
    return;
  }
  markFollowed(writer, plan.prevs);
  const currentGroup = plan.current ?? after;
  if (currentGroup !== row.currentGroup)
    addJoinedCounts(writer, room.nid, joinedChanges(writer, row.currentGroup, currentGroup));
  const isOurs = isServerJoined(writer, room.nid, plan.ownServer);
  // What others say of our last user while the state is partial may be wrong: only the full state tells.
  const isUncertain = plan.partial && serverNameOf(record.sender) !== plan.ownServer;
  const residency = residencyAfter(row.residency, isOurs, isUncertain);
  putRoom(writer, room.nid, { ...row, residency, extremities: plan.extremities, currentGroup });
  showAccepted(writer, room, plan.nid);
  const changed = [...differingEntries(writer, [row.currentGroup, currentGroup])].map(([, [, now]]) => now as EventNid);
  correctMemberships(writer, room, currentGroup, [plan.nid, ...changed], plan.ownServer);
}

/**
 * Our users' memberships are what the current state says. An event on a fork may have lost there, and one that is no
 * membership may have brought forks together.
 */
export function correctMemberships(
  writer: StoreWriter,
  room: StateRoom,
  group: StateGroupNid,
  atStake: Iterable<EventNid>,
  ownServer: ServerName,
): void {
  for (const nid of atStake) {
    const named = nid === NO_EVENT ? undefined : loadRecord(writer, nid);
    if (named?.type !== 'm.room.member' || named.stateKey === undefined) continue;
    const user = named.stateKey as UserId;
    if (serverNameOf(user) !== ownServer) continue;
    const event = stateEvent(writer, room.nid, group, 'm.room.member', user);
    const record = event === NO_EVENT ? undefined : loadRecord(writer, event);
    if (record === undefined || localMembership(writer, user, room.nid)?.event === event) continue;
    const { membership } = record;
    putLocalMembership(writer, user, room.nid, { membership, event, position: streamPosition(writer) });
  }
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
