/**
 * Rule 5.6: `membership` is `ban`. Specification v1.19, rooms/v12, "Authorization rules", rule 5.6 (v8-v11: 4.6; v6, v7: 4.5; v1-v5: 5.5).
 */

import type { AuthEvent } from '../../matrix/auth-event.js';
import type { RoomVersionRules } from '../../matrix/room-versions.js';
import { ALLOWED, type AuthVerdict, refused } from '../auth-verdict.js';
import { namedLevel, userPowerLevel } from '../power-levels.js';
import { membershipOf, type StateLookup } from '../state-lookup.js';

/** Checks a ban of `target`. */
export function checkMemberBan(
  rules: RoomVersionRules,
  event: AuthEvent,
  target: string,
  state: StateLookup,
): AuthVerdict {
  // 5.6.1. If the sender's current membership state is not join, reject.
  if (membershipOf(state, event.sender) !== 'join') return refused('sender-not-joined');
  // 5.6.2. If the sender has the ban level and the target user's power level is less than the sender's, allow.
  const senderLevel = userPowerLevel(rules, state, event.sender);
  const mayBan = senderLevel >= namedLevel(rules, state, 'ban') && userPowerLevel(rules, state, target) < senderLevel;
  // 5.6.3. Otherwise, reject.
  return mayBan ? ALLOWED : refused('ban-insufficient-power');
}
