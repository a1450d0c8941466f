/**
 * Rule 1: `m.room.create`.
 *
 * The kernel's events always have a room ID; for a create event of v12+ it is the one that its hash makes. Whoever
 * parses such an event with a `room_id` of its own refuses it there, and any other room ID is refused here.
 * Specification v1.19, rooms/v11 and rooms/v12, "Authorization rules", rule 1.
 */

import type { AuthEvent } from '../matrix/auth-event.js';
import { parseUserId, serverNameOf } from '../matrix/ids.js';
import type { JsonValue } from '../matrix/json.js';
import { type RoomVersionRules, roomVersionRules } from '../matrix/room-versions.js';
import { ALLOWED, type AuthVerdict, refused } from './auth-verdict.js';
import { roomCreation } from './creators.js';

function isArrayOfUserIds(value: JsonValue): boolean {
  return Array.isArray(value) && value.every((entry) => parseUserId(entry) !== undefined);
}

/** Checks an `m.room.create` event; it needs no state. */
export function checkCreate(rules: RoomVersionRules, event: AuthEvent): AuthVerdict {
  // 1.1. If it has any prev_events, reject.
  if (event.prevEventIds.length > 0) return refused('create-has-prev-events');
  // 1.2. v12: If the event has a room_id, reject. v1-v11: If the domains of room_id and sender do not match, reject.
  if (rules.roomIdIsCreateEventHash) {
    if (event.roomId !== roomCreation(rules, event).hashRoomId) return refused('create-has-room-id');
  } else if (serverNameOf(event.roomId) !== serverNameOf(event.sender)) {
    return refused('sender-domain-mismatch');
  }
  // 1.3. If content.room_version is present and is not a recognised version, reject.
  const version = event.content.room_version;
  if (version !== undefined && (typeof version !== 'string' || roomVersionRules(version) === undefined)) {
    return refused('create-room-version-unknown');
  }
  // v1-v10 1.4. If content has no creator property, reject.
  if (rules.creatorInContent && event.content.creator === undefined) return refused('create-no-creator');
  // v12 1.4. If additional_creators is present and is not an array of valid user IDs, reject.
  const additional = event.content.additional_creators;
  if (rules.privilegedCreators && additional !== undefined && !isArrayOfUserIds(additional)) {
    return refused('create-additional-creators-malformed');
  }
  // 1.5. Otherwise, allow.
  return ALLOWED;
}
