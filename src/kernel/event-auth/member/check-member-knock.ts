/**
 * Rule 5.7: `membership` is `knock` (v7+). Specification v1.19, rooms/v12, "Authorization rules", rule 5.7 (v8-v11: 4.7; v7: 4.6).
 */

import type { AuthEvent } from '../../matrix/auth-event.js';
import type { RoomVersionRules } from '../../matrix/room-versions.js';
import { ALLOWED, type AuthVerdict, refused } from '../auth-verdict.js';
import { joinRuleOf, membershipOf, type StateLookup } from '../state-lookup.js';

/** Checks a knock of `target`. */
export function checkMemberKnock(
  rules: RoomVersionRules,
  event: AuthEvent,
  target: string,
  state: StateLookup,
): AuthVerdict {
  // 5.7.1. If the join_rule is anything other than knock or (v10+) knock_restricted, reject.
  const joinRule = joinRuleOf(state);
  if (joinRule !== 'knock' && !(rules.knockRestricted && joinRule === 'knock_restricted')) {
    return refused('knock-rule-forbids');
  }
  // 5.7.2. If sender does not match state_key, reject.
  if (event.sender !== target) return refused('knock-sender-not-target');
  // 5.7.3. If the sender's current membership is not ban, invite, or join, allow. 5.7.4. Otherwise, reject.
  const membership = membershipOf(state, target);
  const mayKnock = membership !== 'ban' && membership !== 'invite' && membership !== 'join';
  return mayKnock ? ALLOWED : refused('knock-not-possible');
}
