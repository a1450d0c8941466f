/**
 * Job: resolves state sets of one room that are stored as state groups, or given as lists of events, by the room's
 * algorithm. Only what differs is read: shared chunks are skipped, auth difference and conflicted state subgraph come
 * from the room's auth graph.
 *
 * Specification v1.19, rooms/v2.md and v12.md, "State resolution".
 */

import type { EventId, RoomId } from '../../kernel/matrix/ids.js';
import type { RoomVersionRules } from '../../kernel/matrix/room-versions.js';
import { verifyInviteSignature } from '../../kernel/signatures/verify-invite-signature.js';
import { resolveConflicts } from '../../kernel/state-res/resolve-conflicts.js';
import { type StateKey, splitStateKey, stateKeyOf } from '../../kernel/state-res/state-map.js';
import { loadRecord } from '../../store/events.js';
import type { EventNid, RoomNid, StateGroupNid } from '../../store/nids.js';
import { NO_EVENT } from '../../store/nids.js';
import type { StoreReader } from '../../store/open-store.js';
import { differingEntries, stateEvent } from '../../store/state-groups.js';
import type { ResolvedRoom } from '../resolved-rooms.js';
import type { WorkerContext } from '../worker-context.js';

/** A state: a stored group with changes on top, or (group 0) nothing but the changes. */
export interface StateSetInput {
  readonly group: StateGroupNid;
  /** State events that stand in the group's stead at their keys. */
  readonly overlay: readonly EventNid[];
}

export interface ResolveGroupsInput {
  readonly roomVersion: string;
  readonly roomId: RoomId;
  readonly roomNid: RoomNid;
  readonly sets: readonly StateSetInput[];
}

/** The resolved state as changes to the first set's group. */
export interface ResolveGroupsOutput {
  /** `event` is NO_EVENT where the key is unset. */
  readonly changes: readonly { readonly type: string; readonly stateKey: string; readonly event: EventNid }[];
  readonly rejected: readonly { readonly eventId: EventId; readonly code: string }[];
}

/** The event of each set at a key; NO_EVENT where it has none. */
type Row = readonly EventNid[];

/** State sets, compared. */
interface ComparedSets {
  readonly sets: readonly StateSetInput[];
  /** Keys at which the sets differ. */
  readonly differing: ReadonlyMap<StateKey, Row>;
  /** Keys of overlays at which all sets agree. */
  readonly agreed: ReadonlyMap<StateKey, EventNid>;
}

export function resolveGroups(input: ResolveGroupsInput, context: WorkerContext): ResolveGroupsOutput {
  const rules = context.rulesOf(input.roomVersion);
  const { roomNid, roomId } = input;
  return context.resolvedRooms.use(context.reader, { roomNid, roomId, rules }, (room) =>
    resolveIn(room, input, rules, context.reader),
  );
}

function resolveIn(
  room: ResolvedRoom,
  { roomNid, sets }: ResolveGroupsInput,
  rules: RoomVersionRules,
  reader: StoreReader,
): ResolveGroupsOutput {
  const { events, graph } = room;
  const compared = compareSets(reader, roomNid, sets);
  const conflictedNids: EventNid[] = [];
  const conflicted = new Map<StateKey, EventId[]>();
  for (const [key, row] of compared.differing) {
    const ids: EventId[] = [];
    for (const nid of new Set(row)) {
      const event = events.byNid(nid);
      if (event === undefined) continue;
      conflictedNids.push(nid);
      ids.push(event.eventId);
    }
    conflicted.set(key, ids);
  }
  const usesChains = rules.stateResolution !== 'v1' && conflicted.size > 0;
  const authDifference = usesChains ? authDifferenceOf(reader, roomNid, compared, room) : [];
  const subgraph = rules.stateResolution === 'v2.1' ? graph.conflictedSubgraph(conflictedNids) : [];
  const idsOf = (nids: readonly number[]): EventId[] =>
    nids.map((nid) => events.byNid(nid as EventNid)?.eventId).filter((id) => id !== undefined);
  const resolution = resolveConflicts(
    rules,
    {
      conflicted,
      unconflicted: unconflictedOf(reader, roomNid, compared, room),
      authDifference: idsOf(authDifference),
      conflictedSubgraph: idsOf(subgraph),
      source: events,
    },
    { verifyInviteSignature },
  );
  const nidOf = (id: EventId): EventNid => events.event(id)?.nid ?? NO_EVENT;
  return { changes: changesOf(compared, resolution.resolved, nidOf), rejected: resolution.rejected };
}

/** The unconflicted state map, read key by key and remembered: the same few keys are asked for by every check. */
function unconflictedOf(
  reader: StoreReader,
  room: RoomNid,
  { sets, differing, agreed }: ComparedSets,
  { events }: ResolvedRoom,
): (key: StateKey) => EventId | undefined {
  const { group } = sets[0] as StateSetInput;
  const found = new Map<StateKey, EventId | undefined>();
  return (key) => {
    if (found.has(key)) return found.get(key);
    const [type, stateKey] = splitStateKey(key);
    const nid = agreed.get(key) ?? stateEvent(reader, room, group, type, stateKey);
    const id = differing.has(key) ? undefined : events.byNid(nid)?.eventId;
    found.set(key, id);
    return id;
  };
}

/** Finds where the sets differ: groups by their chunks, overlays by their keys. */
function compareSets(reader: StoreReader, room: RoomNid, sets: readonly StateSetInput[]): ComparedSets {
  const groups = sets.map(({ group }) => group);
  const rows = new Map<StateKey, Row>();
  for (const [, row] of differingEntries(reader, groups)) {
    for (const nid of row) {
      const key = keyOf(reader, nid);
      if (key === undefined) continue;
      rows.set(key, row);
      break;
    }
  }
  for (const [index, { overlay }] of sets.entries()) {
    for (const nid of overlay) {
      const key = keyOf(reader, nid);
      if (key === undefined) continue;
      const [type, stateKey] = splitStateKey(key);
      const row = rows.get(key) ?? groups.map((group) => stateEvent(reader, room, group, type, stateKey));
      rows.set(key, row.with(index, nid));
    }
  }
  const differing = new Map<StateKey, Row>();
  const agreed = new Map<StateKey, EventNid>();
  for (const [key, row] of rows) {
    if (row.every((nid) => nid === row[0])) agreed.set(key, row[0] as EventNid);
    else differing.set(key, row);
  }
  return { sets, differing, agreed };
}

function keyOf(reader: StoreReader, nid: EventNid): StateKey | undefined {
  const record = nid === NO_EVENT ? undefined : loadRecord(reader, nid);
  return record?.stateKey === undefined ? undefined : stateKeyOf(record.type, record.stateKey);
}

/**
 * The auth difference: the graph counts the auth chain of one set's group. What the sets do not share is left out for the
 * moment, so that the graph stands at what all of them have in common.
 */
function authDifferenceOf(
  reader: StoreReader,
  room: RoomNid,
  { sets, differing, agreed }: ComparedSets,
  current: ResolvedRoom,
): number[] {
  // The group that the graph stands at already, if a set has it; else the first set's.
  const at = Math.max(
    0,
    sets.findIndex((set) => set.group === current.group),
  );
  const { group, overlay } = sets[at] as StateSetInput;
  current.moveTo(group);
  const inGroup = (key: StateKey): EventNid => {
    const [type, stateKey] = splitStateKey(key);
    return stateEvent(reader, room, group, type, stateKey);
  };
  const leftOut: EventNid[] = [];
  const takenIn: EventNid[] = [];
  for (const [key, row] of differing) {
    const nid = overlay.length === 0 ? (row[at] as EventNid) : inGroup(key);
    if (nid !== NO_EVENT) leftOut.push(nid);
  }
  for (const [key, shared] of agreed) {
    const nid = inGroup(key);
    if (nid === shared) continue;
    if (nid !== NO_EVENT) leftOut.push(nid);
    takenIn.push(shared);
  }
  const own: EventNid[][] = sets.map(() => []);
  for (const row of differing.values()) {
    for (const [index, nid] of row.entries()) if (nid !== NO_EVENT) (own[index] as EventNid[]).push(nid);
  }
  current.graph.changeState(takenIn, leftOut);
  const difference = current.graph.authDifference(own);
  current.graph.changeState(leftOut, takenIn);
  return difference;
}

function changesOf(
  { differing, agreed }: ComparedSets,
  resolved: ReadonlyMap<StateKey, EventId>,
  nidOf: (id: EventId) => EventNid,
): ResolveGroupsOutput['changes'] {
  const events = new Map<StateKey, EventNid>(agreed);
  for (const [key, row] of differing) if (row[0] !== NO_EVENT) events.set(key, NO_EVENT);
  for (const [key, eventId] of resolved) events.set(key, nidOf(eventId));
  return [...events].map(([key, event]) => {
    const [type, stateKey] = splitStateKey(key);
    return { type, stateKey, event };
  });
}
