/**
 * Rule 5.5: `membership` is `leave`: leaving, declining, kicking and unbanning.
 * Specification v1.19, rooms/v12, "Authorization rules", rule 5.5 (v8-v11: 4.5; v6, v7: 4.4; v1-v5: 5.4).
 */

import type { AuthEvent } from '../../matrix/auth-event.js';
import type { RoomVersionRules } from '../../matrix/room-versions.js';
import { ALLOWED, type AuthVerdict, refused } from '../auth-verdict.js';
import { namedLevel, userPowerLevel } from '../power-levels.js';
import { membershipOf, type StateLookup } from '../state-lookup.js';

/** Checks a leave of `target`. */
export function checkMemberLeave(
  rules: RoomVersionRules,
  event: AuthEvent,
  target: string,
  state: StateLookup,
): AuthVerdict {
  const senderMembership = membershipOf(state, event.sender);
  // 5.5.1. If the sender matches state_key, allow if and only if that user is invited, joined or (v7+) knocking.
  if (event.sender === target) {
    const mayLeave =
      senderMembership === 'join' || senderMembership === 'invite' || (rules.knocking && senderMembership === 'knock');
    return mayLeave ? ALLOWED : refused('leave-not-in-room');
  }
  // 5.5.2. If the sender's current membership state is not join, reject.
  if (senderMembership !== 'join') return refused('sender-not-joined');
  // 5.5.3. If the target user is banned and the sender's power level is less than the ban level, reject.
  const senderLevel = userPowerLevel(rules, state, event.sender);
  if (membershipOf(state, target) === 'ban' && senderLevel < namedLevel(rules, state, 'ban')) {
    return refused('unban-insufficient-power');
  }
  // 5.5.4. If the sender has the kick level and the target user's power level is less than the sender's, allow.
  const mayKick = senderLevel >= namedLevel(rules, state, 'kick') && userPowerLevel(rules, state, target) < senderLevel;
  // 5.5.5. Otherwise, reject.
  return mayKick ? ALLOWED : refused('kick-insufficient-power');
}
