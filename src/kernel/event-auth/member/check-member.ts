/**
 * Rule 5: `m.room.member`: what every membership event must have, then one file per membership.
 *
 * Rule 5.2 (the signature of the server that `join_authorised_via_users_server` names) belongs to the event's
 * signatures and is verified with them. Specification v1.19, rooms/v12, "Authorization rules", rule 5 (v6-v11: rule 4).
 */

import type { AuthEvent } from '../../matrix/auth-event.js';
import type { RoomVersionRules } from '../../matrix/room-versions.js';
import { type AuthVerdict, refused } from '../auth-verdict.js';
import type { StateLookup } from '../state-lookup.js';
import { checkMemberBan } from './check-member-ban.js';
import { checkMemberInvite } from './check-member-invite.js';
import { checkMemberJoin } from './check-member-join.js';
import { checkMemberKnock } from './check-member-knock.js';
import { checkMemberLeave } from './check-member-leave.js';
import type { VerifyInviteSignature } from './check-third-party-invite.js';

/** Checks an `m.room.member` event. */
export function checkMember(
  rules: RoomVersionRules,
  event: AuthEvent,
  state: StateLookup,
  create: AuthEvent,
  verifyInviteSignature: VerifyInviteSignature | undefined,
): AuthVerdict {
  // 5.1. If there is no state_key property, or no membership property in content, reject.
  const target = event.stateKey;
  if (target === undefined) return refused('member-no-state-key');
  if (target !== event.sender && !(target.startsWith('@') && target.includes(':'))) {
    return refused('member-state-key-not-user-id');
  }
  const membership = event.content.membership;
  if (membership === undefined) return refused('member-no-membership');
  switch (membership) {
    case 'join': // 5.3.
      return checkMemberJoin(rules, event, target, state, create);
    case 'invite': // 5.4.
      return checkMemberInvite(rules, event, target, state, verifyInviteSignature);
    case 'leave': // 5.5.
      return checkMemberLeave(rules, event, target, state);
    case 'ban': // 5.6.
      return checkMemberBan(rules, event, target, state);
    case 'knock': // 5.7. (v7+)
      return rules.knocking ? checkMemberKnock(rules, event, target, state) : refused('member-unknown-membership');
    default: // 5.8. Otherwise, the membership is unknown. Reject.
      return refused('member-unknown-membership');
  }
}
