/**
 * One room in an answer of `/sync`: the part of its timeline that is new and that the user may see, and the state that the
 * client needs before it. Specification v1.19, client-server API, "Syncing" and "Lazy-loading room members"; MSC3902.
 */

import { setImmediate as nextTurn } from 'node:timers/promises';
import type { UserId } from '../kernel/matrix/ids.js';
import type { JsonObject } from '../kernel/matrix/json.js';
import { loadRecord } from '../store/events.js';
import type { EventNid, StateGroupNid } from '../store/nids.js';
import { NO_EVENT } from '../store/nids.js';
import type { StoreReader } from '../store/open-store.js';
import type { Room } from '../store/rooms.js';
import type { StateEntry } from '../store/state-groups.js';
import {
  differingEntries,
  EMPTY_STATE_GROUP,
  nonMemberEntries,
  stateEntries,
  stateEvent,
} from '../store/state-groups.js';
import type { LocalMembership, TimelineEntry } from '../store/timeline.js';
import { eventContext, nextInTimeline, roomTimeline } from '../store/timeline.js';
import { ENTRIES_A_TURN } from './count-members.js';
import { addSeenMembers, addSenders } from './lazy-members.js';
import { clientForm } from './shape-events.js';
import type { SyncFilter } from './sync-filter.js';
import { syncToken } from './sync-token.js';
import { isVisible } from './visible-to-user.js';

/** Events of a timeline that are read at once where a filter takes some out, and in all: some 5 ms. */
const FILTERED_PAGE = 100;
const FILTERED_EVENTS_MAX = 1_000;

/** Whose client asks for what. */
export interface SectionRequest {
  readonly userId: UserId;
  readonly filter: SyncFilter;
}

export interface SectionRange {
  /** Undefined: the room is new to the client. */
  readonly since: number | undefined;
  readonly upTo: number;
  /** The room's state became full since then, and the client saw the partial one: what it saw is put right. */
  readonly correct: boolean;
}

export interface RoomSection {
  /** The section but for its state. */
  readonly json: JsonObject;
  readonly state: Set<EventNid>;
  /** Events of the timeline that is shown: their state need not stand before it. */
  readonly shown: ReadonlySet<EventNid>;
  /** Whether memberships may have changed. */
  readonly hasMembers: boolean;
  /** Whether the filter has left nothing of what is new. */
  readonly isEmpty: boolean;
}

/** Builds a room's section. `room`: its row as it was when the answer's position was read. */
export async function roomSection(
  reader: StoreReader,
  request: SectionRequest,
  room: Room,
  membership: LocalMembership,
  range: SectionRange,
): Promise<RoomSection> {
  const { entries, hidden, limited } = timelineOf(reader, request, room, membership, range);
  const events = entries.map(({ event }) => clientForm(reader, room, event)).filter((event) => event !== undefined);
  const state = await stateBefore(reader, request, room, membership, range, { entries, hidden, limited });
  return {
    json: {
      timeline: { events, limited, prev_batch: syncToken((entries[0]?.position ?? range.upTo + 1) - 1) },
      ephemeral: { events: [] },
      account_data: { events: [] },
      unread_notifications: { highlight_count: 0, notification_count: 0 },
    },
    state,
    shown: new Set(entries.map(({ event }) => event)),
    hasMembers: limited || [...entries, ...hidden].some((entry) => isMembership(reader, entry)),
    isEmpty: events.length === 0 && state.size === 0 && !limited,
  };
}

function isMembership(reader: StoreReader, { event }: TimelineEntry): boolean {
  return loadRecord(reader, event)?.type === 'm.room.member';
}

/** What of a room's timeline is shown. */
interface ShownTimeline {
  readonly entries: readonly TimelineEntry[];
  /** What the filter has left out, as far as the timeline was read. */
  readonly hidden: readonly TimelineEntry[];
  /** Whether there was more than is shown. */
  readonly limited: boolean;
}

/** The newest events of a range that the filter wants and the user may see. */
function timelineOf(
  reader: StoreReader,
  { userId, filter }: SectionRequest,
  room: Room,
  membership: LocalMembership,
  { since = 0, upTo }: SectionRange,
): ShownTimeline {
  const { timeline, timelineLimit: limit } = filter;
  const wanted: TimelineEntry[] = [];
  const hidden: TimelineEntry[] = [];
  const page = timeline.isOpen ? limit + 1 : FILTERED_PAGE;
  let end = upTo;
  let hasMore = true;
  for (let read = 0; wanted.length <= limit && hasMore && read < FILTERED_EVENTS_MAX; read += page) {
    const found = roomTimeline(reader, room.nid, { after: since, upTo: end, limit: page });
    for (const entry of found.toReversed())
      (timeline.isOpen || timeline.matches(reader, room, entry.event) ? wanted : hidden).push(entry);
    hasMore = found.length === page;
    end = (found[0]?.position ?? 1) - 1;
  }
  const newest = wanted.slice(0, limit).reverse();
  return {
    entries: newest.filter((entry) => isVisible(reader, room, userId, membership, entry)),
    hidden,
    limited: wanted.length > limit || hasMore,
  };
}

/** State events that the client needs before the timeline's first event. */
async function stateBefore(
  reader: StoreReader,
  request: SectionRequest,
  room: Room,
  membership: LocalMembership,
  { since, upTo, correct }: SectionRange,
  { entries, hidden, limited }: ShownTimeline,
): Promise<Set<EventNid>> {
  const { lazyLoadMembers: lazy, state: wanted } = request.filter;
  const at = groupBefore(reader, room, entries, upTo);
  const nids = new Set<EventNid>();
  if (since === undefined && !lazy) {
    await addAll(stateEntries(reader, at), nids);
  } else if (since === undefined || correct) {
    await addAll(nonMemberEntries(reader, room.nid, at), nids);
    const own = stateEvent(reader, room.nid, at, 'm.room.member', request.userId);
    if (own !== NO_EVENT) nids.add(own);
  }
  if (since !== undefined && limited) {
    // Memberships of the gap too: who loads members lazily would never learn of them.
    for (const nid of await changedSince(reader, room, since, at)) nids.add(nid);
  }
  if (since !== undefined && correct) {
    await addSeenMembers(reader, room, at, { after: (membership.joinedAt ?? 1) - 1, upTo: since }, nids);
  }
  if (lazy) addSenders(reader, room, at, entries, nids);
  // A change of state that the filter keeps out of the timeline stands nowhere else.
  for (const nid of changesAmong(reader, room, hidden, stateAt(reader, room, upTo))) nids.add(nid);
  for (const { event } of entries) nids.delete(event);
  if (!wanted.isOpen) for (const nid of nids) if (!wanted.matches(reader, room, nid)) nids.delete(nid);
  return nids;
}

/** Those of some events that are part of a state. */
function changesAmong(
  reader: StoreReader,
  room: Room,
  entries: readonly TimelineEntry[],
  group: StateGroupNid,
): EventNid[] {
  const isCurrent = (event: EventNid): boolean => {
    const { type, stateKey } = loadRecord(reader, event) ?? {};
    return stateKey !== undefined && stateEvent(reader, room.nid, group, type as string, stateKey) === event;
  };
  return entries.map(({ event }) => event).filter(isCurrent);
}

async function addAll(entries: Iterable<StateEntry>, nids: Set<EventNid>): Promise<void> {
  let seen = 0;
  for (const [, nid] of entries) {
    nids.add(nid);
    if (++seen % ENTRIES_A_TURN === 0) await nextTurn();
  }
}

/** The state before the first event that is shown; without one, the state at the end of the range. */
function groupBefore(reader: StoreReader, room: Room, entries: readonly TimelineEntry[], upTo: number): StateGroupNid {
  const [first] = entries;
  const before = first === undefined ? undefined : eventContext(reader, first.event)?.before;
  return before ?? stateAt(reader, room, upTo);
}

/**
 * A room's state at a position: that after its last event up to there; the current one where there is no later event, and
 * before the first one that we have, what that stands on.
 */
export function stateAt(reader: StoreReader, room: Room, position: number): StateGroupNid {
  const next = nextInTimeline(reader, room.nid, position);
  if (next === undefined) return room.currentGroup;
  const [last] = roomTimeline(reader, room.nid, { after: 0, upTo: position, limit: 1 });
  const group = last === undefined ? eventContext(reader, next.event)?.before : eventContext(reader, last.event)?.after;
  return group ?? EMPTY_STATE_GROUP;
}

async function changedSince(
  reader: StoreReader,
  room: Room,
  since: number,
  at: StateGroupNid,
): Promise<readonly EventNid[]> {
  const changed: EventNid[] = [];
  let seen = 0;
  for (const [, [, now]] of differingEntries(reader, [stateAt(reader, room, since), at])) {
    if (now !== undefined && now !== NO_EVENT) changed.push(now);
    if (++seen % ENTRIES_A_TURN === 0) await nextTurn();
  }
  return changed;
}
