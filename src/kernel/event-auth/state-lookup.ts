/**
 * How the authorization rules read the room state: one function from (type, state_key) to event, whatever it stands on
 * (a state group, an event's own auth events, a state that is being resolved), and the readings that several rules share.
 *
 * Contents come from the wire: each value is looked at before it is believed. Specification v1.19, rooms,
 * "Authorization rules".
 */

import type { AuthEvent } from '../matrix/auth-event.js';
import type { RoomVersionRules } from '../matrix/room-versions.js';

/** The event of the room state at (type, state_key). */
export type StateLookup = (type: string, stateKey: string) => AuthEvent | undefined;

/** The current membership state of a user; `leave` for one who has none, as for one who left. */
export function membershipOf(state: StateLookup, userId: string): string {
  const membership = state('m.room.member', userId)?.content.membership;
  return typeof membership === 'string' ? membership : 'leave';
}

/** The join rule of the room; `invite` where the state names none. */
export function joinRuleOf(state: StateLookup): string {
  const joinRule = state('m.room.join_rules', '')?.content.join_rule;
  return typeof joinRule === 'string' ? joinRule : 'invite';
}

/**
 * The state that an event's own auth events make: what the second check on receipt of a PDU passes it against.
 * `createEvent` is the implied auth event of rooms whose ID is its hash (v12+) and not used elsewhere.
 */
export function stateOfAuthEvents(
  rules: RoomVersionRules,
  authEvents: readonly AuthEvent[],
  createEvent: AuthEvent | undefined,
): StateLookup {
  return (type, stateKey) => {
    if (rules.roomIdIsCreateEventHash && type === 'm.room.create') return stateKey === '' ? createEvent : undefined;
    for (const event of authEvents) if (event.type === type && event.stateKey === stateKey) return event;
    return undefined;
  };
}
