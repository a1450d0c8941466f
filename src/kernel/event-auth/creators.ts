/**
 * Who created the room, read from its create event.
 *
 * v1-v10: `content.creator`; v11: the sender; v12: the sender and `content.additional_creators`, and these have infinite
 * power. Read once per event object and remembered, because every check of the room asks.
 * Specification v1.19, rooms/v11 "Remove the creator property", rooms/v12 "Authorization rules".
 */

import type { AuthEvent } from '../matrix/auth-event.js';
import type { EventId, RoomId } from '../matrix/ids.js';
import type { RoomVersionRules } from '../matrix/room-versions.js';
import { readOnce } from './read-once.js';

/** What the rules want to know of a create event. */
export interface RoomCreation {
  /** The creator, or undefined where `content.creator` is required and missing. */
  readonly creator: string | undefined;
  /** Everyone with infinite power (v12+); empty in earlier versions. */
  readonly privileged: ReadonlySet<string>;
  /** The room ID that the create event's hash makes (v12+). */
  readonly hashRoomId: string;
}

function readCreation(rules: RoomVersionRules, create: AuthEvent): RoomCreation {
  const named = create.content.creator;
  const privileged = new Set<string>();
  if (rules.privilegedCreators) {
    privileged.add(create.sender);
    const additional = create.content.additional_creators;
    if (Array.isArray(additional)) {
      for (const userId of additional) if (typeof userId === 'string') privileged.add(userId);
    }
  }
  return {
    creator: rules.creatorInContent ? (typeof named === 'string' ? named : undefined) : create.sender,
    privileged,
    hashRoomId: `!${create.eventId.slice(1)}`,
  };
}

/** The creators of the room that a create event began. */
export const roomCreation = readOnce(readCreation);

let lastNamed: { readonly roomId: RoomId; readonly createEventId: EventId } | undefined;

/**
 * The ID of the create event that a room ID of v12+ names: the same hash with the other sigil. While one room is asked for,
 * the answer is one string, which costs nothing to compare with itself: state resolution asks for each event.
 */
export function createEventIdOf(roomId: RoomId): EventId {
  if (lastNamed?.roomId !== roomId) lastNamed = { roomId, createEventId: `$${roomId.slice(1)}` as EventId };
  return lastNamed.createEventId;
}
