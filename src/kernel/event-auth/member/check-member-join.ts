/**
 * Rule 5.3: `membership` is `join`. The rule that a large room's events meet most: it reads three state events, and no
 * power levels unless the join was authorised by another user.
 * Specification v1.19, rooms/v12, "Authorization rules", rule 5.3 (v8-v11: 4.3; v6, v7: 4.2; v1-v5: 5.2).
 */

import type { AuthEvent } from '../../matrix/auth-event.js';
import type { RoomVersionRules } from '../../matrix/room-versions.js';
import { ALLOWED, type AuthVerdict, refused } from '../auth-verdict.js';
import { roomCreation } from '../creators.js';
import { namedLevel, userPowerLevel } from '../power-levels.js';
import { joinRuleOf, membershipOf, type StateLookup } from '../state-lookup.js';

/** Checks a join of `target`. */
export function checkMemberJoin(
  rules: RoomVersionRules,
  event: AuthEvent,
  target: string,
  state: StateLookup,
  create: AuthEvent,
): AuthVerdict {
  // 5.3.1. If the only previous event is an m.room.create and the state_key is the creator, allow.
  if (
    target === roomCreation(rules, create).creator &&
    event.prevEventIds.length === 1 &&
    event.prevEventIds[0] === create.eventId
  ) {
    return ALLOWED;
  }
  // 5.3.2. If the sender does not match state_key, reject.
  if (event.sender !== target) return refused('join-sender-not-target');
  // 5.3.3. If the sender is banned, reject.
  const membership = membershipOf(state, target);
  if (membership === 'ban') return refused('member-banned');
  const inOrInvited = membership === 'join' || membership === 'invite';
  const joinRule = joinRuleOf(state);
  // 5.3.4. If the join_rule is invite or (v7+) knock then allow if membership state is invite or join.
  if (joinRule === 'invite' || (rules.knocking && joinRule === 'knock')) {
    return inOrInvited ? ALLOWED : refused('join-not-invited');
  }
  // 5.3.5. If the join_rule is restricted (v8+) or knock_restricted (v10+)
  if (
    (rules.restrictedJoins && joinRule === 'restricted') ||
    (rules.knockRestricted && joinRule === 'knock_restricted')
  ) {
    // 5.3.5.1. If membership state is join or invite, allow.
    return inOrInvited ? ALLOWED : checkAuthoriser(rules, event, state);
  }
  // 5.3.6. If the join_rule is public, allow. 5.3.7. Otherwise, reject.
  return joinRule === 'public' ? ALLOWED : refused('join-rule-forbids');
}

/**
 * 5.3.5.2. "If the join_authorised_via_users_server key in content is not a user with sufficient permission to invite
 * other users or is not a joined member of the room, reject." 5.3.5.3. "Otherwise, allow."
 */
function checkAuthoriser(rules: RoomVersionRules, event: AuthEvent, state: StateLookup): AuthVerdict {
  const authoriser = event.content.join_authorised_via_users_server;
  if (typeof authoriser !== 'string') return refused('join-not-authorised');
  if (membershipOf(state, authoriser) !== 'join') return refused('join-authoriser-not-joined');
  const mayInvite = userPowerLevel(rules, state, authoriser) >= namedLevel(rules, state, 'invite');
  return mayInvite ? ALLOWED : refused('join-authoriser-insufficient-power');
}
