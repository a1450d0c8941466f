/**
 * What the authorization rules answer: allowed, or refused with a stable code.
 *
 * Verdicts are values, never exceptions. Every refusal is one shared frozen object, so that checking 200,000 events
 * allocates nothing for their verdicts; whoever reports one adds the event ID. A code is part of the interface (stored,
 * shown to operators, compared in tests): rename none. Specification v1.19, rooms, "Authorization rules".
 */

/** Why an event was refused, by code. The numbers are the rules of room version 12, or of the version named. */
const REASONS = {
  // Before the rules
  'field-over-byte-limit': 'v1-v10 size limits: sender, room_id, type, state_key or event ID is over 255 bytes',
  // 1. m.room.create
  'create-has-prev-events': 'rule 1.1: an m.room.create event must not have prev_events',
  'sender-domain-mismatch': 'v1-v11 rule 1.2: the room ID and the sender of m.room.create have different domains',
  'create-has-room-id': 'rule 1.2: the room ID is not the hash of this m.room.create event',
  'create-room-version-unknown': 'rule 1.3: content.room_version of m.room.create is not a recognised version',
  'create-no-creator': 'v1-v10 rule 1.4: m.room.create has no content.creator',
  'create-additional-creators-malformed': 'rule 1.4: content.additional_creators is not an array of user IDs',
  // 2. room ID (v12)
  'room-id-not-create-event': 'rule 2: the room ID does not name the m.room.create event of the state',
  'create-event-rejected': 'rule 2: the m.room.create event that the room ID names was rejected',
  // 3. auth_events
  'auth-event-duplicate': 'rule 3.1: two auth_events have the same type and state_key',
  'auth-event-not-selected': 'rule 3.2: an auth event is not one that the auth events selection picks',
  'auth-event-rejected': 'rule 3.3: an auth event was itself rejected',
  'auth-event-no-create': 'v1-v11 rule 2.4: there is no m.room.create event among the auth_events',
  'auth-event-other-room': 'rule 3.5: an auth event belongs to another room',
  // 4. m.federate
  'no-create': 'there is no m.room.create event in the room state',
  'not-federated': "rule 4: the room is not federated and the sender is not on the creator's server",
  // v1-v5: 4. m.room.aliases
  'aliases-no-state-key': 'v1-v5 rule 4.1: m.room.aliases has no state_key',
  'aliases-domain-mismatch': 'v1-v5 rule 4.2: the state_key of m.room.aliases is not the domain of the sender',
  // 5. m.room.member
  'member-no-state-key': 'rule 5.1: m.room.member has no state_key',
  'member-state-key-not-user-id': 'rule 5.1: the state_key of m.room.member is not a user ID',
  'member-no-membership': 'rule 5.1: m.room.member has no content.membership',
  'join-sender-not-target': 'rule 5.3.2: the sender of a join is not its state_key',
  'member-banned': 'rule 5.3.3: the user who joins is banned',
  'join-not-invited': 'rule 5.3.4: the join rule asks for an invitation and the user was not invited',
  'join-not-authorised': 'rule 5.3.5.2: a restricted join without content.join_authorised_via_users_server',
  'join-authoriser-not-joined': 'rule 5.3.5.2: the user who authorised a restricted join is not joined',
  'join-authoriser-insufficient-power': 'rule 5.3.5.2: the user who authorised a restricted join may not invite',
  'join-rule-forbids': 'rule 5.3.7: the join rule of the room does not allow this join',
  'third-party-invite-target-banned': 'rule 5.4.1.1: the target of a third-party invite is banned',
  'third-party-invite-no-signed': 'rule 5.4.1.2: content.third_party_invite has no signed property',
  'third-party-invite-signed-malformed': 'rule 5.4.1.3: signed has no mxid and token',
  'third-party-invite-mxid-mismatch': 'rule 5.4.1.4: the mxid of a third-party invite is not the state_key',
  'third-party-invite-unknown-token': 'rule 5.4.1.5: no m.room.third_party_invite event has this token',
  'third-party-invite-sender-mismatch': 'rule 5.4.1.6: the sender is not the one of m.room.third_party_invite',
  'third-party-invite-bad-signature': 'rule 5.4.1.8: no signature in signed matches a public key of the invite',
  'third-party-invite-too-many-signatures': 'rule 5.4.1.7: more signatures and public keys than are tried',
  'third-party-invite-unverifiable': 'rule 5.4.1.7: no signature check was given, so the invite is refused',
  'invite-target-joined': 'rule 5.4.3: the target of an invite is already joined',
  'invite-target-banned': 'rule 5.4.3: the target of an invite is banned',
  'invite-insufficient-power': 'rule 5.4.5: the power level of the sender is below the invite level',
  'leave-not-in-room': 'rule 5.5.1: a user leaves who is neither invited, joined nor knocking',
  'unban-insufficient-power': 'rule 5.5.3: the power level of the sender is below the ban level',
  'kick-insufficient-power': 'rule 5.5.5: the sender has not the power to kick this user',
  'ban-insufficient-power': 'rule 5.6.3: the sender has not the power to ban this user',
  'knock-rule-forbids': 'rule 5.7.1: the join rule of the room does not allow knocking',
  'knock-sender-not-target': 'rule 5.7.2: the sender of a knock is not its state_key',
  'knock-not-possible': 'rule 5.7.4: a user knocks who is banned, invited or joined',
  'member-unknown-membership': 'rule 5.8: the membership is unknown in this room version',
  // 6. to 9.
  'sender-not-joined': 'rule 6: the sender is not joined to the room',
  'third-party-invite-insufficient-power': 'rule 7.1: the power level of the sender is below the invite level',
  'insufficient-power': 'rule 8: the power level of the sender is below the one that the event type requires',
  'state-key-of-other-user': 'rule 9: the state_key is the ID of a user who is not the sender',
  // 10. m.room.power_levels
  'power-levels-level-malformed': 'rule 10.1: a level of m.room.power_levels is not an integer',
  'power-levels-events-malformed': 'rule 10.2: events of m.room.power_levels is not an object of integers',
  'power-levels-notifications-malformed':
    'rule 10.2: notifications of m.room.power_levels is not an object of integers',
  'power-levels-users-malformed': 'rule 10.3: users of m.room.power_levels is not an object of user IDs and integers',
  'power-levels-names-creator': 'rule 10.4: users of m.room.power_levels names a creator of the room',
  'power-levels-level-above-sender': 'rule 10.6: a changed level is or was above the power level of the sender',
  'power-levels-event-above-sender': 'rule 10.7, 10.8: a changed event level is or was above that of the sender',
  'power-levels-notification-above-sender':
    "rule 10.7, 10.8: a changed notification level is or was above the sender's",
  'power-levels-user-not-below-sender': 'rule 10.9: a changed user was not below the power level of the sender',
  'power-levels-user-above-sender': 'rule 10.10: the new level of a user is above that of the sender',
  // v1, v2: 11. m.room.redaction
  'redaction-insufficient-power': 'v1, v2 rule 11.3: neither the redact level nor the domain allows this redaction',
} as const;

/** The stable code of a refusal. */
export type AuthCode = keyof typeof REASONS;

/** The answer of the authorization rules. */
export type AuthVerdict =
  | { readonly allowed: true }
  | { readonly allowed: false; readonly code: AuthCode; readonly reason: string };

/** The verdict of every event that is allowed. */
export const ALLOWED: AuthVerdict = Object.freeze({ allowed: true });

const refusals = new Map<AuthCode, AuthVerdict>();
for (const [code, reason] of Object.entries(REASONS) as [AuthCode, string][]) {
  refusals.set(code, Object.freeze({ allowed: false, code, reason }));
}

/** The shared refusal of that code. */
export function refused(code: AuthCode): AuthVerdict {
  return refusals.get(code)!;
}

/** Every code there is: for documentation and for tests that want each of them reached. */
export const AUTH_CODES: readonly AuthCode[] = [...refusals.keys()];
