/**
 * The auth events selection: which subset of the room state an event must name as its auth_events.
 *
 * One list serves both sides: what we put in our own events, and what check-auth-events.ts accepts in others'. It reads
 * content from the wire; what is malformed selects nothing, and the rules refuse the event for it.
 * Specification v1.19, server-server API, "Auth events selection".
 */

import type { AuthEvent } from '../matrix/auth-event.js';
import { isJsonObject } from '../matrix/json.js';
import type { RoomVersionRules } from '../matrix/room-versions.js';

/** What the selection reads of an event: all of it is known before the event is complete. */
export type SelectableEvent = Pick<AuthEvent, 'type' | 'stateKey' | 'sender' | 'content'>;

/** A (type, state_key) pair of the room state. */
export type StatePair = readonly [type: string, stateKey: string];

const CREATE: StatePair = ['m.room.create', ''];
const POWER_LEVELS: StatePair = ['m.room.power_levels', ''];
const JOIN_RULES: StatePair = ['m.room.join_rules', ''];

/** The pairs of the room state that are the event's auth events where the state has them; no pair twice. */
export function authEventTypes(rules: RoomVersionRules, event: SelectableEvent): readonly StatePair[] {
  // "The auth_events for the m.room.create event in a room is empty"
  if (event.type === 'm.room.create') return [];
  // "Depending on the room version, the m.room.create event": not where the room ID implies it (v12+)
  const pairs: StatePair[] = rules.roomIdIsCreateEventHash ? [POWER_LEVELS] : [CREATE, POWER_LEVELS];
  pairs.push(['m.room.member', event.sender]);
  if (event.type !== 'm.room.member') return pairs;

  // "The target's current m.room.member event, if any"
  const target = event.stateKey;
  if (target !== undefined && target !== event.sender) pairs.push(['m.room.member', target]);
  const membership = event.content.membership;
  // "If membership is join, invite or knock, the current m.room.join_rules event, if any"
  if (membership === 'join' || membership === 'invite' || membership === 'knock') pairs.push(JOIN_RULES);
  // "If membership is invite and content contains a third_party_invite property, ..."
  if (membership === 'invite') {
    const invite = event.content.third_party_invite;
    const signed = isJsonObject(invite) ? invite.signed : undefined;
    const token = isJsonObject(signed) ? signed.token : undefined;
    if (typeof token === 'string') pairs.push(['m.room.third_party_invite', token]);
  }
  // "If membership is join, content.join_authorised_via_users_server is present, and the room version supports
  // restricted rooms, ..."
  if (membership === 'join' && rules.restrictedJoins) {
    const authoriser = event.content.join_authorised_via_users_server;
    if (typeof authoriser === 'string' && authoriser !== event.sender && authoriser !== target) {
      pairs.push(['m.room.member', authoriser]);
    }
  }
  return pairs;
}
