/**
 * The authorization rules against a room state: the sequence of rules, each `m.room.*` type's own in a file of its own.
 *
 * Asked up to three times per event (its auth events, the state before it, the current state) and once per event in
 * state resolution; pure. What it does not see was checked before: signatures, also that of the server that
 * `join_authorised_via_users_server` names (rule 5.2), the event's format, and the auth_events (check-auth-events.ts).
 * Specification v1.19, rooms/v1 to rooms/v12, "Authorization rules". The numbers are v12's; v11's are one less from 3 on.
 */

import type { AuthEvent } from '../matrix/auth-event.js';
import { serverNameOf } from '../matrix/ids.js';
import { exceedsFieldBytes } from '../matrix/old-versions/exceeds-field-bytes.js';
import type { RoomVersionRules } from '../matrix/room-versions.js';
import { ALLOWED, type AuthVerdict, refused } from './auth-verdict.js';
import { checkCreate } from './check-create.js';
import { checkPowerLevels } from './check-power-levels.js';
import { checkRedaction } from './check-redaction.js';
import { roomCreation } from './creators.js';
import { checkMember } from './member/check-member.js';
import type { VerifyInviteSignature } from './member/check-third-party-invite.js';
import { namedLevel, requiredPowerLevel, userPowerLevel } from './power-levels.js';
import { membershipOf, type StateLookup } from './state-lookup.js';

/** What the rules need beside event and state. */
export interface AuthRuleOptions {
  /** Verifies one signature of a third-party invite; without it such invites are refused, with a code of their own. */
  readonly verifyInviteSignature?: VerifyInviteSignature | undefined;
}

const NO_OPTIONS: AuthRuleOptions = {};

/** Checks an event against a room state, by every rule but the one about the list of its auth_events. */
export function checkAuthRules(
  rules: RoomVersionRules,
  event: AuthEvent,
  state: StateLookup,
  options: AuthRuleOptions = NO_OPTIONS,
): AuthVerdict {
  // Client-server API, "Size limits": from v11 on such an event was dropped before.
  if (!rules.fieldLimitsInBytes && exceedsFieldBytes(event)) return refused('field-over-byte-limit');
  // 1. If type is m.room.create
  if (event.type === 'm.room.create') return checkCreate(rules, event);
  const create = state('m.room.create', '');
  if (create === undefined) return refused('no-create');
  // 2. v12: If the event's room_id is not an event ID for an accepted m.room.create event, reject.
  if (rules.roomIdIsCreateEventHash) {
    if (roomCreation(rules, create).hashRoomId !== event.roomId) return refused('room-id-not-create-event');
    if (create.rejected) return refused('create-event-rejected');
  }
  // 3. is check-auth-events.ts
  // 4. If m.federate is false and the sender's domain is not that of the create event's sender, reject.
  if (create.content['m.federate'] === false && serverNameOf(create.sender) !== serverNameOf(event.sender)) {
    return refused('not-federated');
  }
  // v1-v5: 4. If type is m.room.aliases
  if (rules.aliasesAuthRule && event.type === 'm.room.aliases') return checkAliases(event);
  // 5. If type is m.room.member
  if (event.type === 'm.room.member') return checkMember(rules, event, state, create, options.verifyInviteSignature);
  // 6. If the sender's current membership state is not join, reject.
  if (membershipOf(state, event.sender) !== 'join') return refused('sender-not-joined');
  // 7. If type is m.room.third_party_invite: allow if and only if the sender's power level is >= the invite level.
  const senderLevel = userPowerLevel(rules, state, event.sender);
  if (event.type === 'm.room.third_party_invite') {
    const mayInvite = senderLevel >= namedLevel(rules, state, 'invite');
    return mayInvite ? ALLOWED : refused('third-party-invite-insufficient-power');
  }
  // 8. If the event type's required power level is greater than the sender's power level, reject.
  if (requiredPowerLevel(rules, state, event.type, event.stateKey !== undefined) > senderLevel) {
    return refused('insufficient-power');
  }
  // 9. If the event has a state_key that starts with an @ and does not match the sender, reject.
  if (event.stateKey?.startsWith('@') && event.stateKey !== event.sender) return refused('state-key-of-other-user');
  // 10. If type is m.room.power_levels
  if (event.type === 'm.room.power_levels') return checkPowerLevels(rules, event, state, create, senderLevel);
  // v1, v2: 11. If type is m.room.redaction
  if (rules.redactionAuthRule && event.type === 'm.room.redaction') {
    return checkRedaction(rules, event, state, senderLevel);
  }
  // 11. Otherwise, allow.
  return ALLOWED;
}

function checkAliases(event: AuthEvent): AuthVerdict {
  // 4.1. If event has no state_key, reject.
  if (event.stateKey === undefined) return refused('aliases-no-state-key');
  // 4.2. If sender's domain doesn't match state_key, reject. 4.3. Otherwise, allow.
  return event.stateKey === serverNameOf(event.sender) ? ALLOWED : refused('aliases-domain-mismatch');
}
