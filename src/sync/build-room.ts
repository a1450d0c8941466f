/**
 * One room's part of a `/sync` answer: the window of the timeline, and the state that a client needs to read it.
 *
 * While the room is partial its members are read off the timeline: a sender's membership that the partial state lacks is
 * among the auth events of what they sent. Specification v1.19, client-server API, "Syncing"; MSC3902, "/sync".
 */

import { setImmediate as nextTurn } from 'node:timers/promises';
import type { UserId } from '../kernel/matrix/ids.js';
import type { JsonObject } from '../kernel/matrix/json.js';
import type { LoadedEvent } from '../store/events.js';
import { isAccepted, loadEvent, loadRecord } from '../store/events.js';
import { eventStatus } from '../store/event-status.js';
import type { EventNid, StateGroupNid } from '../store/nids.js';
import { NO_EVENT } from '../store/nids.js';
import type { StoreReader } from '../store/open-store.js';
import type { Room } from '../store/rooms.js';
import { differingEntries, EMPTY_STATE_GROUP, stateEntries, stateEvent } from '../store/state-groups.js';
import { clientEventOf } from '../workers/client-events.js';
import { nonMemberState, stateGroupAt } from './state-at.js';
import { syncToken } from './sync-token.js';
import type { TimelineWindow } from './visible-timeline.js';
import { visibleTimeline } from './visible-timeline.js';

/** Events loaded between two turns of the event loop: about 5 ms. */
const EVENTS_A_TURN = 300;

export interface RoomRequest {
  readonly user: UserId;
  /** The client's position; undefined when the room is new to it, which then gets all of its state. */
  readonly since: number | undefined;
  readonly upTo: number;
  /** The state the client should end with. */
  readonly endGroup: StateGroupNid;
  readonly timelineLimit: number;
  /** Only members who matter to the timeline. */
  readonly lazy: boolean;
  /** All state but members is sent again: the room became complete after `since`. */
  readonly completed: boolean;
}

export interface BuiltRoom {
  readonly json: JsonObject;
  /** Neither events nor state. */
  readonly empty: boolean;
  /** A membership may differ from what the client knew. */
  readonly membersChanged: boolean;
}

/** A room's `timeline` and `state`. */
export async function buildRoom(reader: StoreReader, room: Room, request: RoomRequest): Promise<BuiltRoom> {
  const range = { after: request.since ?? 0, upTo: request.upTo, limit: request.timelineLimit };
  const window = visibleTimeline(reader, room, request.user, range);
  const inWindow = new Set(window.events.map(({ nid }) => nid));
  const nids = stateOf(reader, room, request, window, inWindow);
  const state: JsonObject[] = [];
  let loaded = 0;
  let members = false;
  for (const nid of nids) {
    const event = loadEvent(reader, room.rules, nid);
    if (event !== undefined) {
      state.push(clientEventOf(event, room.roomId));
      members ||= event.record.type === 'm.room.member';
    }
    loaded += 1;
    if (loaded % EVENTS_A_TURN === 0) await nextTurn();
  }
  return {
    json: {
      timeline: {
        events: window.events.map((event) => clientEventOf(event, room.roomId)),
        limited: window.limited,
        prev_batch: syncToken(window.startPosition),
      },
      state: { events: state },
      account_data: { events: [] },
      ephemeral: { events: [] },
      unread_notifications: { notification_count: 0, highlight_count: 0 },
    },
    empty: window.events.length === 0 && state.length === 0,
    membersChanged: members || window.limited || window.events.some(({ record }) => record.type === 'm.room.member'),
  };
}

/** The state events of the answer, none of them in the window. */
function stateOf(
  reader: StoreReader,
  room: Room,
  request: RoomRequest,
  window: TimelineWindow,
  inWindow: ReadonlySet<EventNid>,
): Set<EventNid> {
  const startGroup = window.startGroup ?? request.endGroup;
  const nids = new Set<EventNid>();
  if (request.since === undefined || request.completed) {
    if (request.lazy) for (const nid of nonMemberState(reader, room.nid, startGroup)) nids.add(nid);
    else for (const [, nid] of stateEntries(reader, startGroup)) nids.add(nid);
  } else {
    const sinceGroup = stateGroupAt(reader, room.nid, request.since);
    for (const nid of changedState(reader, sinceGroup, startGroup, request.endGroup, inWindow)) {
      if (!request.lazy || loadRecord(reader, nid)?.type !== 'm.room.member') nids.add(nid);
    }
  }
  if (request.lazy) {
    for (const nid of neededMembers(reader, room, request, window.events, startGroup)) nids.add(nid);
  }
  for (const nid of inWindow) nids.delete(nid);
  return nids;
}

/**
 * State at the start of the window that the client does not have, and state that came about beside the timeline, where
 * forks were resolved.
 */
function changedState(
  reader: StoreReader,
  since: StateGroupNid,
  start: StateGroupNid,
  end: StateGroupNid,
  inWindow: ReadonlySet<EventNid>,
): Iterable<EventNid> {
  const byPlace = new Map<number, EventNid>();
  for (const [place, [had, starts, ends]] of differingEntries(reader, [since, start, end])) {
    if (starts !== undefined && starts !== NO_EVENT && starts !== had) byPlace.set(place, starts);
    if (ends !== undefined && ends !== NO_EVENT && ends !== had && !inWindow.has(ends)) byPlace.set(place, ends);
  }
  return byPlace.values();
}

/** Memberships of the senders in the window, and the user's own where the room is new to the client. */
function* neededMembers(
  reader: StoreReader,
  room: Room,
  request: RoomRequest,
  events: readonly LoadedEvent[],
  group: StateGroupNid,
): Generator<EventNid> {
  const seen = new Set<string>();
  if (request.since === undefined) {
    seen.add(request.user);
    const own = stateEvent(reader, room.nid, group, 'm.room.member', request.user);
    if (own !== NO_EVENT) yield own;
  }
  for (const { record } of events) {
    if (seen.has(record.sender)) continue;
    seen.add(record.sender);
    // Their own join in the window says it all.
    if (record.type === 'm.room.member' && record.stateKey === record.sender) continue;
    const known = group === EMPTY_STATE_GROUP ? NO_EVENT : stateEvent(reader, room.nid, group, 'm.room.member', record.sender);
    const nid = known === NO_EVENT ? memberAmongAuthEvents(reader, record.authNids, record.sender) : known;
    if (nid !== NO_EVENT) yield nid;
  }
}

function memberAmongAuthEvents(reader: StoreReader, authNids: readonly EventNid[], sender: UserId): EventNid {
  for (const nid of authNids) {
    const record = loadRecord(reader, nid);
    if (record?.type === 'm.room.member' && record.stateKey === sender && isAccepted(eventStatus(reader, nid))) return nid;
  }
  return NO_EVENT;
}
