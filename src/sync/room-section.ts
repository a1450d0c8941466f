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
import { syncToken } from './sync-token.js';
import { isVisible } from './visible-to-user.js';

/** Whose client asks for what. */
export interface SectionRequest {
  readonly userId: UserId;
  readonly lazyLoadMembers: boolean;
  readonly timelineLimit: number;
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
}

/** Builds a room's section. `room`: its row as it was when the answer's position was read. */
export async function roomSection(
  reader: StoreReader,
  request: SectionRequest,
  room: Room,
  membership: LocalMembership,
  range: SectionRange,
): Promise<RoomSection> {
  const { since = 0, upTo } = range;
  const limit = request.timelineLimit;
  const found = roomTimeline(reader, room.nid, { after: since, upTo, limit: limit + 1 });
  const limited = found.length > limit;
  const newest = limited ? found.slice(-limit) : found;
  const entries = newest.filter((entry) => isVisible(reader, room, request.userId, membership, entry));
  const events = entries.map(({ event }) => clientForm(reader, room, event)).filter((event) => event !== undefined);
  const state = await stateBefore(reader, request, room, membership, range, entries, limited);
  return {
    json: {
      timeline: { events, limited, prev_batch: syncToken((entries[0]?.position ?? upTo + 1) - 1) },
      ephemeral: { events: [] },
      account_data: { events: [] },
      unread_notifications: { highlight_count: 0, notification_count: 0 },
    },
    state,
    shown: new Set(entries.map(({ event }) => event)),
    hasMembers: limited || entries.some(({ event }) => loadRecord(reader, event)?.type === 'm.room.member'),
  };
}

/** State events that the client needs before the timeline's first event. */
async function stateBefore(
  reader: StoreReader,
  request: SectionRequest,
  room: Room,
  membership: LocalMembership,
  { since, upTo, correct }: SectionRange,
  entries: readonly TimelineEntry[],
  limited: boolean,
): Promise<Set<EventNid>> {
  const lazy = request.lazyLoadMembers;
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
  for (const { event } of entries) nids.delete(event);
  return nids;
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
