/**
 * One answer of `/sync`: what happened in a user's rooms since a position of the stream. With lazy loading a room with
 * partial state is there at once; without, it is absent until its state is full and then arrives as newly joined.
 * MSC3902; specification v1.19, client-server API, "Syncing" and "Lazy-loading room members".
 */

import type { UserId } from '../kernel/matrix/ids.js';
import type { JsonObject } from '../kernel/matrix/json.js';
import { redactionOf } from '../room/redactions/apply-redactions.js';
import { eventStatus, StatusBit } from '../store/event-status.js';
import { isAccepted, loadEvent, loadRecord } from '../store/events.js';
import type { EventNid, StateGroupNid } from '../store/nids.js';
import { NO_EVENT } from '../store/nids.js';
import type { StoreReader } from '../store/open-store.js';
import type { Room } from '../store/rooms.js';
import { loadRoomByNid } from '../store/rooms.js';
import { differingEntries, stateEntries, stateEvent } from '../store/state-groups.js';
import type { LocalMembership, TimelineEntry } from '../store/timeline.js';
import { eventContext, localMemberships, roomTimeline, streamPosition } from '../store/timeline.js';
import { clientEventOf } from '../workers/jobs/client-events.js';

export interface SyncRequest {
  readonly userId: UserId;
  /** Position of the `since` token; undefined for the first sync. */
  readonly since: number | undefined;
  readonly lazyLoadMembers: boolean;
  readonly timelineLimit: number;
}

export interface SyncAnswer {
  readonly body: JsonObject;
  /** Whether there is anything to tell. */
  readonly isEmpty: boolean;
}

/** Token of a position. */
export function syncToken(position: number): string {
  return `s${position}`;
}

/** Position of a token, or undefined when it is not one of ours. */
export function parseSyncToken(token: string): number | undefined {
  const match = /^s(\d{1,15})$/.exec(token);
  return match === null ? undefined : Number(match[1]);
}

/** The position of the stream at which a room's state became full; 0 where it always was. */
function completedPosition(reader: StoreReader, room: Room): number {
  return (reader.tables.meta.get(`completed_position:${room.nid}`) as number | undefined) ?? 0;
}

export function buildSync(reader: StoreReader, request: SyncRequest): SyncAnswer {
  const upTo = streamPosition(reader);
  const join: Record<string, JsonObject> = {};
  const leave: Record<string, JsonObject> = {};
  for (const [nid, membership] of localMemberships(reader, request.userId)) {
    const room = loadRoomByNid(reader, nid);
    if (room === undefined) continue;
    if (membership.membership === 'join') {
      const section = joinedSection(reader, request, room, membership, upTo);
      if (section !== undefined) join[room.roomId] = section;
    } else if (isOver(membership) && request.since !== undefined && membership.position > request.since) {
      leave[room.roomId] = roomSection(reader, request, room, request.since, membership.position);
    }
  }
  const isEmpty = Object.keys(join).length === 0 && Object.keys(leave).length === 0;
  return { body: { next_batch: syncToken(upTo), rooms: { join, leave, invite: {}, knock: {} } }, isEmpty };
}

/** Left or banned; invitations and knocks are no end. */
function isOver({ membership }: LocalMembership): boolean {
  return membership === 'leave' || membership === 'ban';
}

function joinedSection(
  reader: StoreReader,
  request: SyncRequest,
  room: Room,
  membership: LocalMembership,
  upTo: number,
): JsonObject | undefined {
  const since = request.since;
  if (room.residency !== 'full-state' && !request.lazyLoadMembers) return undefined;
  const completed = completedPosition(reader, room);
  const firstSeen = request.lazyLoadMembers ? membership.position : Math.max(membership.position, completed);
  if (since === undefined || firstSeen > since) return roomSection(reader, request, room, undefined, upTo);
  const news = roomTimeline(reader, room.nid, { after: since, upTo, limit: 1 });
  if (news.length === 0 && completed <= since) return undefined;
  return roomSection(reader, request, room, since, upTo);
}

/** Timeline and state of one room. `since` undefined: the room is new to the client. */
function roomSection(
  reader: StoreReader,
  request: SyncRequest,
  room: Room,
  since: number | undefined,
  upTo: number,
): JsonObject {
  const limit = request.timelineLimit;
  const found = roomTimeline(reader, room.nid, { after: since ?? 0, upTo, limit: limit + 1 });
  const limited = found.length > limit;
  const entries = limited ? found.slice(-limit) : found;
  const events = entries.map(({ event }) => clientForm(reader, room, event)).filter((event) => event !== undefined);
  const state = stateBefore(reader, request, room, since, entries, limited);
  return {
    timeline: { events, limited, prev_batch: syncToken((entries[0]?.position ?? upTo + 1) - 1) },
    state: { events: [...state].map((nid) => clientForm(reader, room, nid)).filter((event) => event !== undefined) },
    ephemeral: { events: [] },
    account_data: { events: [] },
    summary: {},
    unread_notifications: { highlight_count: 0, notification_count: 0 },
  };
}

function clientForm(reader: StoreReader, room: Room, nid: EventNid): JsonObject | undefined {
  if (!isAccepted(eventStatus(reader, nid))) return undefined;
  const event = loadEvent(reader, room.rules, nid);
  if (event === undefined) return undefined;
  const because = (event.status & StatusBit.redacted) === 0 ? undefined : redactionOf(reader, room, nid);
  const redaction = because === undefined ? undefined : loadEvent(reader, room.rules, because);
  if (redaction === undefined) return clientEventOf(event, room.roomId);
  return clientEventOf(event, room.roomId, { redacted_because: clientEventOf(redaction, room.roomId) });
}

/** State events that the client needs before the timeline's first event. */
function stateBefore(
  reader: StoreReader,
  request: SyncRequest,
  room: Room,
  since: number | undefined,
  entries: readonly TimelineEntry[],
  limited: boolean,
): Set<EventNid> {
  const first = entries[0];
  const at = (first === undefined ? undefined : eventContext(reader, first.event)?.before) ?? room.currentGroup;
  const nids = new Set<EventNid>();
  if (since === undefined) {
    for (const [, nid] of stateEntries(reader, at)) if (wanted(reader, request, nid)) nids.add(nid);
  } else if (limited) {
    const [last] = roomTimeline(reader, room.nid, { after: 0, upTo: since, limit: 1 });
    const seen = (last === undefined ? undefined : eventContext(reader, last.event)?.after) ?? (0 as StateGroupNid);
    for (const [, [, now]] of differingEntries(reader, [seen, at])) {
      if (now !== undefined && now !== NO_EVENT && wanted(reader, request, now)) nids.add(now);
    }
  }
  if (request.lazyLoadMembers) addSenders(reader, room, at, entries, nids);
  for (const { event } of entries) nids.delete(event);
  return nids;
}

/** Whether a state event is sent as such: with lazy loading, other users' memberships are not. */
function wanted(reader: StoreReader, request: SyncRequest, nid: EventNid): boolean {
  if (!request.lazyLoadMembers) return true;
  const record = loadRecord(reader, nid);
  return record?.type !== 'm.room.member' || record.stateKey === request.userId;
}

/** The memberships of the timeline's senders; those that the partial state lacks stand among their events' auth events. */
function addSenders(
  reader: StoreReader,
  room: Room,
  group: StateGroupNid,
  entries: readonly TimelineEntry[],
  nids: Set<EventNid>,
): void {
  for (const { event } of entries) {
    const record = loadRecord(reader, event);
    if (record === undefined) continue;
    const known = stateEvent(reader, room.nid, group, 'm.room.member', record.sender);
    const claimed = record.authNids.find((nid) => {
      const auth = loadRecord(reader, nid);
      return auth?.type === 'm.room.member' && auth.stateKey === record.sender;
    });
    const nid = known === NO_EVENT ? claimed : known;
    if (nid !== undefined) nids.add(nid);
  }
}
