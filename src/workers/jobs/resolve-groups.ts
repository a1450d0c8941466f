/**
 * Job: resolves state sets of one room that are stored as state groups, or given as lists of events, by the room's
 * algorithm. Only what differs leaves the store: shared chunks are skipped.
 *
 * Specification v1.19, rooms/v2.md and v12.md, "State resolution".
 */

import type { AuthEvent } from '../../kernel/matrix/auth-event.js';
import type { EventId, RoomId } from '../../kernel/matrix/ids.js';
import type { RoomVersionRules } from '../../kernel/matrix/room-versions.js';
import { verifyInviteSignature } from '../../kernel/signatures/verify-invite-signature.js';
import { authDifferenceOf, conflictedStateSubgraphOf } from '../../kernel/state-res/auth-chain.js';
import type { EventSource } from '../../kernel/state-res/event-source.js';
import { resolveConflicts } from '../../kernel/state-res/resolve-conflicts.js';
import { splitStateKey, stateKeyOf } from '../../kernel/state-res/state-map.js';
import { authEventOf, eventNidOf, loadEvent, loadRecord } from '../../store/events.js';
import type { EventNid, RoomNid, StateGroupNid } from '../../store/nids.js';
import { NO_EVENT } from '../../store/nids.js';
import type { StoreReader } from '../../store/open-store.js';
import { differingEntries, stateEntries, stateEvent } from '../../store/state-groups.js';
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

/** Events parsed for one resolution that are kept at once; 1 KB each. */
const PARSED_EVENTS_MAX = 50_000;

class StoreEventSource implements EventSource {
  readonly #reader: StoreReader;
  readonly #rules: RoomVersionRules;
  readonly #roomId: RoomId;
  readonly #events = new Map<EventId, AuthEvent | undefined>();

  constructor(reader: StoreReader, rules: RoomVersionRules, roomId: RoomId) {
    this.#reader = reader;
    this.#rules = rules;
    this.#roomId = roomId;
  }

  event(id: EventId): AuthEvent | undefined {
    if (this.#events.has(id)) return this.#events.get(id);
    const nid = eventNidOf(this.#reader, id);
    return nid === undefined ? undefined : this.byNid(nid, id);
  }

  byNid(nid: EventNid, id?: EventId): AuthEvent | undefined {
    const loaded = loadEvent(this.#reader, this.#rules, nid);
    const event = loaded === undefined ? undefined : authEventOf(loaded, this.#roomId);
    if (this.#events.size >= PARSED_EVENTS_MAX) this.#events.clear();
    const eventId = event?.eventId ?? id;
    if (eventId !== undefined) this.#events.set(eventId, event);
    return event;
  }
}

export function resolveGroups(input: ResolveGroupsInput, context: WorkerContext): ResolveGroupsOutput {
  const rules = context.rulesOf(input.roomVersion);
  const { reader } = context;
  const source = new StoreEventSource(reader, rules, input.roomId);
  const differing = differingKeys(reader, input.sets);
  const conflicted = new Map<string, EventId[]>();
  const nidById = new Map<EventId, EventNid>();
  for (const [key, nids] of differing) {
    const ids: EventId[] = [];
    for (const nid of new Set(nids)) {
      if (nid === NO_EVENT) continue;
      const event = source.byNid(nid);
      if (event === undefined) continue;
      nidById.set(event.eventId, nid);
      ids.push(event.eventId);
    }
    conflicted.set(key, ids);
  }
  const unconflicted = (key: string): EventId | undefined => {
    if (conflicted.has(key)) return undefined;
    const [type, stateKey] = splitStateKey(key);
    const nid = stateEvent(reader, input.roomNid, (input.sets[0] as StateSetInput).group, type, stateKey);
    if (nid === NO_EVENT) return undefined;
    const event = source.byNid(nid);
    if (event !== undefined) nidById.set(event.eventId, nid);
    return event?.eventId;
  };
  const resolution = resolveConflicts(
    rules,
    {
      conflicted,
      unconflicted,
      authDifference:
        rules.stateResolution === 'v1' ? [] : authDifferenceOf(rules, stateIds(reader, input.sets, source), source),
      conflictedSubgraph:
        rules.stateResolution === 'v2.1'
          ? conflictedStateSubgraphOf(rules, [...conflicted.values()].flat(), source)
          : [],
      source,
    },
    { verifyInviteSignature },
  );
  return { changes: changesOf(reader, differing, resolution.resolved, nidById), rejected: resolution.rejected };
}

function changesOf(
  reader: StoreReader,
  differing: ReadonlyMap<string, readonly EventNid[]>,
  resolved: ReadonlyMap<string, EventId>,
  nidById: ReadonlyMap<EventId, EventNid>,
) {
  const changes: { type: string; stateKey: string; event: EventNid }[] = [];
  for (const [key, nids] of differing) {
    if (resolved.has(key) || nids[0] === NO_EVENT) continue;
    const [type, stateKey] = splitStateKey(key);
    changes.push({ type, stateKey, event: NO_EVENT });
  }
  for (const [key, eventId] of resolved) {
    const event = nidById.get(eventId) ?? eventNidOf(reader, eventId) ?? NO_EVENT;
    const [type, stateKey] = splitStateKey(key);
    changes.push({ type, stateKey, event });
  }
  return changes;
}

/** Keys where the sets differ, with each set's event there. */
function differingKeys(reader: StoreReader, sets: readonly StateSetInput[]): Map<string, readonly EventNid[]> {
  if (sets.every((set) => set.overlay.length === 0)) {
    const differing = new Map<string, readonly EventNid[]>();
    for (const [, nids] of differingEntries(
      reader,
      sets.map((set) => set.group),
    )) {
      const key = keyOfAny(reader, nids);
      if (key !== undefined) differing.set(key, nids);
    }
    return differing;
  }
  const maps = sets.map((set) => stateMapOf(reader, set));
  const differing = new Map<string, readonly EventNid[]>();
  for (const key of new Set(maps.flatMap((map) => [...map.keys()]))) {
    const nids = maps.map((map) => map.get(key) ?? NO_EVENT);
    if (nids.some((nid) => nid !== nids[0])) differing.set(key, nids);
  }
  return differing;
}

function keyOfAny(reader: StoreReader, nids: readonly EventNid[]): string | undefined {
  for (const nid of nids) {
    const record = nid === NO_EVENT ? undefined : loadRecord(reader, nid);
    if (record?.stateKey !== undefined) return stateKeyOf(record.type, record.stateKey);
  }
  return undefined;
}

function stateMapOf(reader: StoreReader, set: StateSetInput): Map<string, EventNid> {
  const map = new Map<string, EventNid>();
  for (const [, nid] of stateEntries(reader, set.group)) {
    const key = keyOfAny(reader, [nid]);
    if (key !== undefined) map.set(key, nid);
  }
  for (const nid of set.overlay) {
    const key = keyOfAny(reader, [nid]);
    if (key !== undefined) map.set(key, nid);
  }
  return map;
}

function* setIds(reader: StoreReader, set: StateSetInput, source: StoreEventSource): Generator<EventId> {
  for (const nid of stateMapOf(reader, set).values()) {
    const event = source.byNid(nid);
    if (event !== undefined) yield event.eventId;
  }
}

function stateIds(reader: StoreReader, sets: readonly StateSetInput[], source: StoreEventSource): Iterable<EventId>[] {
  return sets.map((set) => setIds(reader, set, source));
}
