/**
 * Rooms: which version, where we stand in them, their current state and forward extremities, and what has to survive a
 * restart while a room has partial state.
 */

import type { RoomId, ServerName } from '../kernel/matrix/ids.js';
import type { RoomVersionRules } from '../kernel/matrix/room-versions.js';
import { roomVersionRules } from '../kernel/matrix/room-versions.js';
import type { EventNid, RoomNid, StateGroupNid } from './nids.js';
import type { StoreReader, StoreWriter } from './open-store.js';
import { takeNumbers } from './open-store.js';

/**
 * Where we stand in a room; `absent` is having no row. `paused`: our last user left while the state was partial; what a
 * resynchronisation needs is kept, and it goes on when one of our users is back.
 */
export type Residency = 'absent' | 'partial-state' | 'paused' | 'full-state';

export interface RoomRow {
  readonly roomId: RoomId;
  readonly version: string;
  readonly residency: Residency;
  readonly createNid: EventNid;
  readonly currentGroup: StateGroupNid;
  readonly extremities: readonly EventNid[];
}

/** A room with its NID and rules. */
export interface Room extends RoomRow {
  readonly nid: RoomNid;
  readonly rules: RoomVersionRules;
}

/** What survives a restart while a room has partial state. */
export interface PartialStateRow {
  readonly joinNid: EventNid;
  readonly joinedVia: ServerName;
  /** Servers in the room before our join, the resident included, ours not. */
  readonly servers: readonly ServerName[];
  /** Position of our device list stream when we joined. */
  readonly deviceListPosition: number;
  readonly attempts: number;
  /** Milliseconds since 1970; 0: at once. */
  readonly nextTryTs: number;
  /** Why the last attempt failed. */
  readonly lastFailure: string | undefined;
}

export function roomNidOf(reader: StoreReader, roomId: RoomId): RoomNid | undefined {
  return reader.tables.room_nid_by_id.get(roomId) as RoomNid | undefined;
}

/** The NID of a room, made where it is new; a room without a row stays absent. */
export function internRoom(writer: StoreWriter, roomId: RoomId): RoomNid {
  const known = roomNidOf(writer, roomId);
  if (known !== undefined) return known;
  const nid = takeNumbers(writer, 'next_room_nid', 1) as RoomNid;
  writer.tables.room_nid_by_id.put(roomId, nid);
  return nid;
}

/** A room that has a row, or undefined. */
export function loadRoom(reader: StoreReader, roomId: RoomId): Room | undefined {
  const nid = roomNidOf(reader, roomId);
  return nid === undefined ? undefined : loadRoomByNid(reader, nid);
}

export function loadRoomByNid(reader: StoreReader, nid: RoomNid): Room | undefined {
  const row = reader.tables.room_by_nid.get(nid) as RoomRow | undefined;
  if (row === undefined) return undefined;
  const rules = roomVersionRules(row.version);
  if (rules === undefined) throw new Error(`room ${row.roomId} is stored with unknown room version ${row.version}`);
  return { ...row, nid, rules };
}

export function putRoom(writer: StoreWriter, nid: RoomNid, row: RoomRow): void {
  const { roomId, version, residency, createNid, currentGroup, extremities } = row;
  writer.tables.room_by_nid.put(nid, { roomId, version, residency, createNid, currentGroup, extremities });
}

/** Every room that has a row. */
export function* allRooms(reader: StoreReader): Generator<Room> {
  for (const nid of [...reader.tables.room_by_nid.getKeys({})]) {
    const room = loadRoomByNid(reader, nid as RoomNid);
    if (room !== undefined) yield room;
  }
}

export function loadPartialState(reader: StoreReader, room: RoomNid): PartialStateRow | undefined {
  return reader.tables.partial_state_by_room.get(room) as PartialStateRow | undefined;
}

export function putPartialState(writer: StoreWriter, room: RoomNid, row: PartialStateRow): void {
  writer.tables.partial_state_by_room.put(room, row);
}

export function removePartialState(writer: StoreWriter, room: RoomNid): void {
  writer.tables.partial_state_by_room.remove(room);
}

const EMPTY = Buffer.alloc(0);

export function markPartialStateEvent(writer: StoreWriter, room: RoomNid, event: EventNid): void {
  writer.tables.partial_state_events.put([room, event], EMPTY);
}

const FLIPPED = Buffer.of(1);

/** The verdict of an event whose state was partial has flipped; what rests on it is still to be judged again. */
export function markFlipped(writer: StoreWriter, room: RoomNid, event: EventNid): void {
  writer.tables.partial_state_events.put([room, event], FLIPPED);
}

export function hasFlipped(reader: StoreReader, room: RoomNid, event: EventNid): boolean {
  return (reader.tables.partial_state_events.get([room, event]) as Buffer | undefined)?.equals(FLIPPED) === true;
}

const CLEARED = Buffer.of(2);

/**
 * The event's state is full. The mark is remembered until the room is: what follows from all of these events together is
 * worked out then, maybe after a crash.
 */
export function clearPartialStateEvent(writer: StoreWriter, room: RoomNid, event: EventNid): void {
  writer.tables.partial_state_events.put([room, event], CLEARED);
}

/** Forgets the marks of a room that has full state. */
export function forgetPartialStateEvents(writer: StoreWriter, room: RoomNid): void {
  for (const { event } of [...markedEvents(writer, room)]) writer.tables.partial_state_events.remove([room, event]);
}

export function isPartialStateEvent(reader: StoreReader, room: RoomNid, event: EventNid): boolean {
  const mark = reader.tables.partial_state_events.get([room, event]) as Buffer | undefined;
  return mark !== undefined && !mark.equals(CLEARED);
}

/** Events of the room whose state is partial, in the order in which they were stored. */
export function partialStateEvents(reader: StoreReader, room: RoomNid): EventNid[] {
  return [...markedEvents(reader, room)].flatMap(({ event, isCleared }) => (isCleared ? [] : [event]));
}

/** Events of a room with partial state whose own state was partial and is full, in the order in which they were stored. */
export function clearedEvents(reader: StoreReader, room: RoomNid): EventNid[] {
  return [...markedEvents(reader, room)].flatMap(({ event, isCleared }) => (isCleared ? [event] : []));
}

function* markedEvents(reader: StoreReader, room: RoomNid): Generator<{ event: EventNid; isCleared: boolean }> {
  const marks = reader.tables.partial_state_events.getRange({ start: [room, 0], end: [room + 1, 0] });
  for (const { key, value } of marks)
    yield { event: (key as [number, number])[1] as EventNid, isCleared: (value as Buffer).equals(CLEARED) };
}

/** Servers with a joined member in the current state, and how many each. */
export function* joinedServers(reader: StoreReader, room: RoomNid): Generator<readonly [ServerName, number]> {
  for (const { key, value } of reader.tables.joined_count_by_server.getRange({
    start: [room, ''],
    end: [room + 1, ''],
  })) {
    yield [(key as [number, ServerName])[1], value as number];
  }
}

export function isServerJoined(reader: StoreReader, room: RoomNid, server: ServerName): boolean {
  return reader.tables.joined_count_by_server.has([room, server]);
}

/** Adds to (or takes from) the joined counts. */
export function addJoinedCounts(writer: StoreWriter, room: RoomNid, changes: ReadonlyMap<ServerName, number>): void {
  const table = writer.tables.joined_count_by_server;
  for (const [server, change] of changes) {
    if (change === 0) continue;
    const count = ((table.get([room, server]) as number | undefined) ?? 0) + change;
    if (count > 0) table.put([room, server], count);
    else table.remove([room, server]);
  }
}

/** Why an event was not accepted. */
export interface Refusal {
  readonly verdict: 'dropped' | 'rejected' | 'redacted' | 'soft-failed';
  readonly code: string;
  readonly reason: string;
}

export function putRefusal(writer: StoreWriter, room: RoomNid, eventId: string, refusal: Refusal): void {
  writer.tables.refusals.put([room, eventId], refusal);
}

/** An event that was dropped for want of something has come again, and is none that was refused. */
export function forgetDropped(writer: StoreWriter, room: RoomNid, eventId: string): void {
  const refusal = writer.tables.refusals.get([room, eventId]) as Refusal | undefined;
  if (refusal?.verdict === 'dropped') removeRefusal(writer, room, eventId);
}

export function removeRefusal(writer: StoreWriter, room: RoomNid, eventId: string): void {
  writer.tables.refusals.remove([room, eventId]);
}

export function* refusals(reader: StoreReader, room: RoomNid): Generator<readonly [string, Refusal]> {
  for (const { key, value } of reader.tables.refusals.getRange({ start: [room, ''], end: [room + 1, ''] })) {
    yield [(key as [number, string])[1], value as Refusal];
  }
}

/** Whether a room has so many refusals, or more. */
export function hasRefusals(reader: StoreReader, room: RoomNid, count: number): boolean {
  const range = { start: [room, ''], end: [room + 1, ''], limit: count };
  return [...reader.tables.refusals.getKeys(range)].length >= count;
}
