/**
 * The order in which clients see events, the graph edges of the timeline, the state around each of its events, and the
 * memberships of our own users.
 */

import type { UserId } from '../kernel/matrix/ids.js';
import type { Membership } from './event-record.js';
import { recordRoomNid } from './event-record.js';
import { eventStatus, StatusBit, setEventStatus, VERDICT_BITS, Verdict } from './event-status.js';
import type { EventNid, RoomNid, StateGroupNid, StreamPosition } from './nids.js';
import { bytesToNids, nidsToBytes } from './nids.js';
import type { StoreReader, StoreWriter } from './open-store.js';
import { takeNumbers } from './open-store.js';

/** The last position given out; 0 before the first. */
export function streamPosition(reader: StoreReader): StreamPosition {
  return (((reader.tables.meta.get('next_stream_position') as number | undefined) ?? 1) - 1) as StreamPosition;
}

/** Gives an event the next stream position. */
export function appendToStream(writer: StoreWriter, room: RoomNid, event: EventNid): StreamPosition {
  const position = takeNumbers(writer, 'next_stream_position', 1) as StreamPosition;
  writer.tables.stream.put(position, [room, event]);
  writer.tables.room_timeline.put([room, position], event);
  return position;
}

export interface TimelineEntry {
  readonly position: StreamPosition;
  readonly event: EventNid;
}

/** Events of a room after `after` and up to `upTo`, the newest `limit` of them, oldest first. */
export function roomTimeline(
  reader: StoreReader,
  room: RoomNid,
  range: { readonly after: number; readonly upTo: number; readonly limit: number },
): TimelineEntry[] {
  const entries: TimelineEntry[] = [];
  const rows = reader.tables.room_timeline.getRange({
    start: [room, range.upTo],
    end: [room, range.after],
    reverse: true,
    limit: range.limit,
  });
  for (const { key, value } of rows) {
    const position = (key as [number, number])[1] as StreamPosition;
    if (position > range.after) entries.push({ position, event: value as EventNid });
  }
  return entries.reverse();
}

/** The first event of a room after a position. */
export function nextInTimeline(reader: StoreReader, room: RoomNid, after: number): TimelineEntry | undefined {
  const range = { start: [room, after + 1], end: [room + 1, 0], limit: 1 };
  for (const { key, value } of reader.tables.room_timeline.getRange(range)) {
    return { position: (key as [number, number])[1] as StreamPosition, event: value as EventNid };
  }
  return undefined;
}

/** Rooms that had an event after `after` and up to `upTo`. */
export function roomsInStream(reader: StoreReader, after: number, upTo: number): Set<RoomNid> {
  const rooms = new Set<RoomNid>();
  for (const { value } of reader.tables.stream.getRange({ start: after + 1, end: upTo + 1 })) {
    rooms.add((value as [RoomNid, EventNid])[0]);
  }
  return rooms;
}

/** State groups around an event of the timeline. */
export interface EventContext {
  readonly before: StateGroupNid;
  /** The same as `before` for what is not a state event, and for rejected events. */
  readonly after: StateGroupNid;
}

export function putEventContext(writer: StoreWriter, event: EventNid, context: EventContext): void {
  writer.tables.event_context_by_nid.put(event, nidsToBytes([context.before, context.after]));
}

/** Undefined for outliers. */
export function eventContext(reader: StoreReader, event: EventNid): EventContext | undefined {
  const bytes = reader.tables.event_context_by_nid.getBinaryFast(event);
  if (bytes === undefined) return undefined;
  return { before: bytes.readUInt32LE(0) as StateGroupNid, after: bytes.readUInt32LE(4) as StateGroupNid };
}

/** The same for an event of this room only: prev_events come from the wire, and may name what stands in another room. */
export function eventContextIn(reader: StoreReader, room: RoomNid, event: EventNid): EventContext | undefined {
  const record = reader.tables.event_record_by_nid.getBinaryFast(event);
  return record !== undefined && recordRoomNid(record) === room ? eventContext(reader, event) : undefined;
}

export function putEventPrevs(writer: StoreWriter, event: EventNid, prevs: readonly EventNid[]): void {
  writer.tables.event_prevs_by_nid.put(event, nidsToBytes(prevs));
}

/** Remembers of events that came only by name, and of refused ones, that an accepted event follows upon them (followed-events.ts). */
export function markFollowed(writer: StoreWriter, events: Iterable<EventNid>): void {
  const table = writer.tables.event_prevs_by_nid;
  for (const event of events) {
    if (!table.has(event)) table.put(event, nidsToBytes([]));
    const status = eventStatus(writer, event);
    if ((status & VERDICT_BITS) === Verdict.rejected) setEventStatus(writer, event, status | StatusBit.followed);
  }
}

/** Whether an event is in the timeline already, or one that is and was accepted follows upon it. */
export function isInGraph(reader: StoreReader, event: EventNid): boolean {
  return reader.tables.event_prevs_by_nid.has(event);
}

/** The prev_events of an event of the timeline. */
export function eventPrevs(reader: StoreReader, event: EventNid): EventNid[] {
  return bytesToNids(reader.tables.event_prevs_by_nid.getBinaryFast(event));
}

/** A membership of one of our users, and where it stands. */
export interface LocalMembershipEvent {
  readonly membership: Membership;
  readonly event: EventNid;
  readonly position: StreamPosition;
}

/** One of our users in a room: the membership, and the user's last stay in the room. */
export interface LocalMembership extends LocalMembershipEvent {
  /** Where the last stay began; a change of profile begins none. Undefined: never joined. */
  readonly joinedAt: StreamPosition | undefined;
  /** What ended the last stay; undefined while it lasts. A ban that follows a leave ends nothing. */
  readonly left: { readonly event: EventNid; readonly position: StreamPosition } | undefined;
}

export function putLocalMembership(writer: StoreWriter, user: UserId, room: RoomNid, now: LocalMembershipEvent): void {
  const before = localMembership(writer, user, room);
  const wasJoined = before?.membership === 'join';
  const { membership, event, position } = now;
  const stay =
    membership === 'join'
      ? { joinedAt: wasJoined ? before.joinedAt : position, left: undefined }
      : { joinedAt: before?.joinedAt, left: wasJoined ? { event, position } : before?.left };
  writer.tables.local_memberships.put([user, room], { membership, event, position, ...stay });
}

export function localMembership(reader: StoreReader, user: UserId, room: RoomNid): LocalMembership | undefined {
  return reader.tables.local_memberships.get([user, room]) as LocalMembership | undefined;
}

/** Every room in which one of our users has a membership. */
export function* localMemberships(reader: StoreReader, user: UserId): Generator<readonly [RoomNid, LocalMembership]> {
  for (const { key, value } of reader.tables.local_memberships.getRange({ start: [user, 0], end: [user, 2 ** 33] })) {
    yield [(key as [string, RoomNid])[1], value as LocalMembership];
  }
}
