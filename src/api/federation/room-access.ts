/**
 * Which rooms and events a server may ask about: the checks that several endpoints share, and what is refused while our own
 * copy of a room has partial state (MSC3895, MSC3902).
 * Specification v1.19, server-server API, "Retrieving events", "Backfilling and retrieving missing events".
 */

import type { EventId, RoomId, ServerName } from '../../kernel/matrix/ids.js';
import { parseEventId, parseRoomId } from '../../kernel/matrix/ids.js';
import { MatrixError } from '../../kernel/matrix/matrix-error.js';
import { isServerAllowed } from '../../room/access/server-acl.js';
import type { RoomServer } from '../../room/room-server.js';
import { eventStatus } from '../../store/event-status.js';
import { eventNidOf, isAccepted, loadRecord } from '../../store/events.js';
import type { EventNid } from '../../store/nids.js';
import type { StoreReader } from '../../store/open-store.js';
import type { Room } from '../../store/rooms.js';
import { isServerJoined, loadPartialState, loadRoom } from '../../store/rooms.js';

export const UNABLE_DUE_TO_PARTIAL_STATE = 'ORG.MATRIX.MSC3895_UNABLE_DUE_TO_PARTIAL_STATE';

/** Whether we hold the room with partial state only. */
export function isPartial(room: Room): boolean {
  return room.residency === 'partial-state' || room.residency === 'paused';
}

/** A room ID from a path. Throws 400 M_INVALID_PARAM. */
export function roomIdOf(text: string | undefined): RoomId {
  const roomId = parseRoomId(text);
  if (roomId === undefined) throw new MatrixError(400, 'M_INVALID_PARAM', 'roomId is not a room ID');
  return roomId;
}

/** An event ID from a path or query. Throws 400. */
export function eventIdOf(text: string | null | undefined, name: string): EventId {
  if (text === null || text === undefined) throw new MatrixError(400, 'M_MISSING_PARAM', `${name} is missing`);
  const eventId = parseEventId(text);
  if (eventId === undefined) throw new MatrixError(400, 'M_INVALID_PARAM', `${name} is not an event ID`);
  return eventId;
}

/** A room that we hold, with full or partial state. Throws 404 M_NOT_FOUND. */
export function knownRoom(reader: StoreReader, roomId: RoomId): Room {
  const room = loadRoom(reader, roomId);
  if (room === undefined || !(room.residency === 'full-state' || isPartial(room))) {
    throw new MatrixError(404, 'M_NOT_FOUND', `this server does not know the room ${roomId}`);
  }
  return room;
}

/** A room that we are in with full state: what joins and the like are served from. Throws 404 M_NOT_FOUND. */
export function residentRoom(server: RoomServer, roomId: RoomId): Room {
  const room = knownRoom(server.store, roomId);
  if (isPartial(room)) {
    throw new MatrixError(
      404,
      'M_NOT_FOUND',
      `this server is still fetching the state of ${roomId}: ask another server`,
    );
  }
  if (!isServerJoined(server.store, room.nid, server.serverName)) {
    throw new MatrixError(404, 'M_NOT_FOUND', `this server has left the room ${roomId}`);
  }
  return room;
}

/** Throws 403 M_FORBIDDEN for a server that the room's ACL denies. */
export function checkServerAcl(reader: StoreReader, room: Room, origin: ServerName): void {
  if (isServerAllowed(reader, room, origin)) return;
  throw new MatrixError(403, 'M_FORBIDDEN', `the ACL of ${room.roomId} denies ${origin}`);
}

/** Whether a server has a joined member, or the resident said so and our state is partial. */
export function isServerInRoom(reader: StoreReader, room: Room, origin: ServerName): boolean {
  if (isServerJoined(reader, room.nid, origin)) return true;
  return isPartial(room) && (loadPartialState(reader, room.nid)?.servers.includes(origin) ?? false);
}

/** Throws 403 for a server that is not in the room: MSC3895's error while partial (unless told not to), else M_FORBIDDEN. */
export function checkServerInRoom(reader: StoreReader, room: Room, origin: ServerName, errorWhilePartial = true): void {
  if (isServerInRoom(reader, room, origin)) return;
  if (errorWhilePartial && isPartial(room)) throw unableDueToPartialState(room);
  throw new MatrixError(403, 'M_FORBIDDEN', `${origin} is not in the room ${room.roomId}`);
}

/** The error of MSC3895. */
export function unableDueToPartialState(room: Room): MatrixError {
  return new MatrixError(
    403,
    UNABLE_DUE_TO_PARTIAL_STATE,
    `this server is still fetching the state of ${room.roomId}: ask another server`,
  );
}

/** An accepted event of the room. Throws 404 M_NOT_FOUND, for a rejected one too. */
export function acceptedEvent(reader: StoreReader, room: Room, eventId: EventId): EventNid {
  const nid = eventNidOf(reader, eventId);
  if (nid === undefined || !isAcceptedIn(reader, room, nid)) {
    throw new MatrixError(404, 'M_NOT_FOUND', `this server does not have the event ${eventId} of ${room.roomId}`);
  }
  return nid;
}

/** Whether a NID is an accepted event of the room. */
export function isAcceptedIn(reader: StoreReader, room: Room, nid: EventNid): boolean {
  return isAccepted(eventStatus(reader, nid)) && loadRecord(reader, nid)?.roomNid === room.nid;
}
