/**
 * Rule 5.4: `membership` is `invite`. Specification v1.19, rooms/v12, "Authorization rules", rule 5.4 (v8-v11: 4.4; v6, v7: 4.3; v1-v5: 5.3).
 */

import type { AuthEvent } from '../../matrix/auth-event.js';
import type { RoomVersionRules } from '../../matrix/room-versions.js';
import { ALLOWED, type AuthVerdict, refused } from '../auth-verdict.js';
import { namedLevel, userPowerLevel } from '../power-levels.js';
import { membershipOf, type StateLookup } from '../state-lookup.js';
import { checkThirdPartyInvite, type VerifyInviteSignature } from './check-third-party-invite.js';

/** Checks an invite of `target`. */
export function checkMemberInvite(
  rules: RoomVersionRules,
  event: AuthEvent,
  target: string,
  state: StateLookup,
  verifyInviteSignature: VerifyInviteSignature | undefined,
): AuthVerdict {
  // 5.4.1. If content has a third_party_invite property
  if (event.content.third_party_invite !== undefined) {
    return checkThirdPartyInvite(event, target, state, verifyInviteSignature);
  }
  // 5.4.2. If the sender's current membership state is not join, reject.
  if (membershipOf(state, event.sender) !== 'join') return refused('sender-not-joined');
  // 5.4.3. If target user's current membership state is join or ban, reject.
  const membership = membershipOf(state, target);
  if (membership === 'join') return refused('invite-target-joined');
  if (membership === 'ban') return refused('invite-target-banned');
  // 5.4.4. If the sender's power level is greater than or equal to the invite level, allow. 5.4.5. Otherwise, reject.
  const mayInvite = userPowerLevel(rules, state, event.sender) >= namedLevel(rules, state, 'invite');
  return mayInvite ? ALLOWED : refused('invite-insufficient-power');
}
