/**
 * Where state resolution reads events from, and how it follows their auth_events.
 *
 * In rooms whose ID is the create event's hash (v12+) no event lists the create event: the room ID implies it. Here it
 * is an auth event like any other, so that auth chains, auth difference and subgraph mean the same in every version.
 * Such a room's source must therefore know the create event under the ID that the room ID names.
 */

import { createEventIdOf } from '../event-auth/creators.js';
import { readOnce } from '../event-auth/read-once.js';
import type { AuthEvent } from '../matrix/auth-event.js';
import type { EventId } from '../matrix/ids.js';
import type { RoomVersionRules } from '../matrix/room-versions.js';

/** The events of one room, as far as they are known; accepted and rejected ones. Answers must not change meanwhile. */
export interface EventSource {
  event(id: EventId): AuthEvent | undefined;
  /** The known ones of the auth events that an event lists, where the source has a shorter way to them than by their IDs. */
  listedAuthEvents?(event: AuthEvent): readonly AuthEvent[];
}

/** An event source over a map. */
export function eventSourceOf(events: ReadonlyMap<EventId, AuthEvent>): EventSource {
  return { event: (id) => events.get(id) };
}

/** The IDs of an event's auth events, the implied create event (v12+) included. */
export function authEventIdsOf(rules: RoomVersionRules, event: AuthEvent): readonly EventId[] {
  if (!rules.roomIdIsCreateEventHash || event.type === 'm.room.create') return event.authEventIds;
  return withImplied(rules, event);
}

const withImplied = readOnce((_rules, event): readonly EventId[] => [
  ...event.authEventIds,
  createEventIdOf(event.roomId),
]);

/** The auth event of `event` at (type, state_key), rejected or not; the first where a malformed event lists several. */
export function authEventAt(
  rules: RoomVersionRules,
  event: AuthEvent,
  type: string,
  stateKey: string,
  source: EventSource,
): AuthEvent | undefined {
  const isMatch = (found: AuthEvent | undefined) => found?.type === type && found.stateKey === stateKey;
  if (rules.roomIdIsCreateEventHash && type === 'm.room.create') {
    const create = event.type === 'm.room.create' ? undefined : source.event(createEventIdOf(event.roomId));
    return isMatch(create) ? create : undefined;
  }
  const listed = source.listedAuthEvents?.(event);
  if (listed !== undefined) return listed.find(isMatch);
  for (const id of event.authEventIds) {
    const authEvent = source.event(id);
    if (isMatch(authEvent)) return authEvent;
  }
  return undefined;
}
