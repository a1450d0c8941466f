/**
 * The rule about the list of auth events itself (v1-v11 rule 2, v12 rule 3): everything it says about an event's
 * auth_events that needs no other state. Asked once per event, on receipt.
 *
 * The caller hands in the auth events it found; an event with one that cannot be found is dropped, not judged here.
 * Specification v1.19, rooms, "Authorization rules"; the v12 rule 2 (the room ID) is in check-auth-rules.ts.
 */

import type { AuthEvent } from '../matrix/auth-event.js';
import type { RoomVersionRules } from '../matrix/room-versions.js';
import { authEventTypes } from './auth-event-types.js';
import { ALLOWED, type AuthVerdict, refused } from './auth-verdict.js';

/**
 * Checks an event's auth events: no pair twice, none that the selection does not pick, none rejected, none of another
 * room, and (v1-v11) the create event among them. A create event is judged by rule 1 alone.
 */
export function checkAuthEvents(
  rules: RoomVersionRules,
  event: AuthEvent,
  authEvents: readonly AuthEvent[],
): AuthVerdict {
  if (event.type === 'm.room.create') return ALLOWED;
  const selected = authEventTypes(rules, event);
  let seenBits = 0;
  let hasCreate = false;
  for (const authEvent of authEvents) {
    const index = selected.findIndex(([type, key]) => type === authEvent.type && key === authEvent.stateKey);
    if (index < 0) return refused('auth-event-not-selected');
    if ((seenBits & (1 << index)) !== 0) return refused('auth-event-duplicate');
    seenBits |= 1 << index;
    if (authEvent.rejected) return refused('auth-event-rejected');
    if (authEvent.roomId !== event.roomId) return refused('auth-event-other-room');
    hasCreate ||= authEvent.type === 'm.room.create';
  }
  return hasCreate || rules.roomIdIsCreateEventHash ? ALLOWED : refused('auth-event-no-create');
}
