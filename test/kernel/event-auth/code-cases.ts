/**
 * One case for each code of the authorization rules: the rule refuses an event, and allows the nearest one that keeps to it.
 * A code without a case does not compile; every-code.test.ts runs them in each room version that has the rule.
 */

import type { AuthCode } from '../../../src/kernel/event-auth/auth-verdict.js';
import { INVITE_SIGNATURE_TRIES_MAX } from '../../../src/kernel/event-auth/member/check-third-party-invite.js';
import type { EventId, RoomId } from '../../../src/kernel/matrix/ids.js';
import type { JsonObject } from '../../../src/kernel/matrix/json.js';
import type { RoomVersionRules } from '../../../src/kernel/matrix/room-versions.js';
import { ALICE, BOB, CAROL, type Fork, MALLORY } from '../../rooms/room-builder.js';
import type { World } from './world.js';

/** The verdicts on two events: 'allowed', or the code. */
type Verdicts = readonly [refused: string, allowed: string];

export interface CodeCase {
  /** Which room versions have the rule; all, where it is left out. */
  readonly in?: (rules: RoomVersionRules) => boolean;
  readonly verdicts: (world: World) => Verdicts;
}

const SIGNED = { mxid: MALLORY, token: 'T', signatures: { 'id.test': { 'ed25519:0': 'good' } } };

/** The verdicts on two invites of Mallory that redeem Alice's offer. */
function invites(world: World, refused: JsonObject, fork: Fork = world.offered()): Verdicts {
  const verdict = (on: Fork, thirdPartyInvite: JsonObject) =>
    world.member(on, ALICE, MALLORY, 'invite', { third_party_invite: thirdPartyInvite });
  return [verdict(fork, refused), verdict(world.offered(), { signed: SIGNED })];
}

/** The verdicts on two contents of power levels that Bob (60) sends on `current`. */
function levels(world: World, current: JsonObject, refused: JsonObject, allowed: JsonObject): Verdicts {
  return [world.bobsLevels(current, refused), world.bobsLevels(current, allowed)];
}

const restricted = (world: World, authoriser: string | undefined) =>
  world.member(
    world.rule('restricted'),
    MALLORY,
    MALLORY,
    'join',
    authoriser === undefined ? {} : { join_authorised_via_users_server: authoriser },
  );

export const CODE_CASES: Readonly<Record<AuthCode, CodeCase>> = {
  'field-over-byte-limit': {
    in: (rules) => !rules.fieldLimitsInBytes,
    // Two bytes each: within 255 code points.
    verdicts: (world) => [
      world.message(ALICE, { type: 'é'.repeat(200) }),
      world.message(ALICE, { type: 'é'.repeat(127) }),
    ],
  },
  'create-has-prev-events': {
    verdicts: (world) => [world.create({}, { prevEventIds: ['$other' as EventId] }), world.create({})],
  },
  'sender-domain-mismatch': {
    in: (rules) => !rules.roomIdIsCreateEventHash,
    verdicts: (world) => [world.create({}, { roomId: '!room:b.test' as RoomId }), world.create({})],
  },
  'create-has-room-id': {
    in: (rules) => rules.roomIdIsCreateEventHash,
    verdicts: (world) => [world.create({}, { roomId: '!room' as RoomId }), world.create({})],
  },
  'create-room-version-unknown': {
    verdicts: (world) => [
      world.create({ room_version: '0' }),
      world.create({ room_version: world.room.rules.version }),
    ],
  },
  'create-no-creator': {
    in: (rules) => rules.creatorInContent,
    verdicts: (world) => [world.create({ creator: undefined as never }), world.create({ creator: ALICE })],
  },
  'create-additional-creators-malformed': {
    in: (rules) => rules.privilegedCreators,
    verdicts: (world) => [world.create({ additional_creators: ['bob'] }), world.create({ additional_creators: [BOB] })],
  },
  'room-id-not-create-event': {
    in: (rules) => rules.roomIdIsCreateEventHash,
    verdicts: (world) => [world.message(ALICE, { roomId: '!other' as RoomId }), world.message(ALICE)],
  },
  'create-event-rejected': {
    in: (rules) => rules.roomIdIsCreateEventHash,
    verdicts: (world) => [world.messageOn({ createRejected: true }), world.messageOn({ createRejected: false })],
  },
  'auth-event-duplicate': {
    verdicts: (world) => [world.listing((listed) => [...listed, listed[0]!]), world.listing((listed) => listed)],
  },
  'auth-event-not-selected': {
    verdicts: (world) => [
      world.listing((listed) => [...listed, world.event('join-rules')]),
      world.listing((listed) => [...listed].reverse()),
    ],
  },
  'auth-event-rejected': {
    verdicts: (world) => [
      world.listing((listed) => listed.map((event) => ({ ...event, rejected: true }))),
      world.listing((listed) => listed),
    ],
  },
  'auth-event-no-create': {
    in: (rules) => !rules.roomIdIsCreateEventHash,
    verdicts: (world) => [
      world.listing((listed) => listed.filter(({ type }) => type !== 'm.room.create')),
      world.listing((listed) => listed.filter(({ type }) => type === 'm.room.create')),
    ],
  },
  'auth-event-other-room': {
    verdicts: (world) => [
      world.listing((listed) => listed.map((event) => ({ ...event, roomId: '!other:a.test' as RoomId }))),
      world.listing((listed) => listed),
    ],
  },
  'no-create': { verdicts: (world) => [world.messageOn({ noState: true }), world.message(ALICE)] },
  'not-federated': {
    verdicts: (world) => [world.joinUnfederated(MALLORY, false), world.joinUnfederated('@zoe:a.test', false)],
  },
  'aliases-no-state-key': {
    in: (rules) => rules.aliasesAuthRule,
    verdicts: (world) => [
      world.verdict(world.base, MALLORY, 'm.room.aliases', undefined, {}),
      world.verdict(world.base, MALLORY, 'm.room.aliases', 'm.test', {}),
    ],
  },
  'aliases-domain-mismatch': {
    in: (rules) => rules.aliasesAuthRule,
    verdicts: (world) => [
      world.verdict(world.base, MALLORY, 'm.room.aliases', 'a.test', {}),
      world.verdict(world.base, MALLORY, 'm.room.aliases', 'm.test', {}),
    ],
  },
  'member-no-state-key': {
    verdicts: (world) => [
      world.verdict(world.base, BOB, 'm.room.member', undefined, { membership: 'join' }),
      world.member(world.base, BOB, BOB, 'join'),
    ],
  },
  'member-state-key-not-user-id': {
    verdicts: (world) => [
      world.member(world.base, ALICE, 'mallory', 'ban'),
      world.member(world.base, ALICE, MALLORY, 'ban'),
    ],
  },
  'member-no-membership': {
    verdicts: (world) => [
      world.verdict(world.base, BOB, 'm.room.member', BOB, {}),
      world.member(world.base, BOB, BOB, 'leave'),
    ],
  },
  'join-sender-not-target': {
    verdicts: (world) => [
      world.member(world.base, BOB, MALLORY, 'join'),
      world.member(world.base, MALLORY, MALLORY, 'join'),
    ],
  },
  'member-banned': {
    verdicts: (world) => [
      world.member(world.with('ban', ALICE, MALLORY), MALLORY, MALLORY, 'join'),
      world.member(world.base, MALLORY, MALLORY, 'join'),
    ],
  },
  'join-not-invited': {
    verdicts: (world) => [
      world.member(world.rule('invite'), MALLORY, MALLORY, 'join'),
      world.member(world.with('invite', ALICE, MALLORY, world.rule('invite')), MALLORY, MALLORY, 'join'),
    ],
  },
  'join-not-authorised': {
    in: (rules) => rules.restrictedJoins,
    verdicts: (world) => [restricted(world, undefined), restricted(world, BOB)],
  },
  'join-authoriser-not-joined': {
    in: (rules) => rules.restrictedJoins,
    verdicts: (world) => [restricted(world, '@nobody:a.test'), restricted(world, CAROL)],
  },
  'join-authoriser-insufficient-power': {
    in: (rules) => rules.restrictedJoins,
    verdicts: (world) => {
      const fork = world.rule('restricted', world.levels({ invite: 50 }));
      const join = (by: string) =>
        world.member(fork, MALLORY, MALLORY, 'join', { join_authorised_via_users_server: by });
      return [join(CAROL), join(BOB)];
    },
  },
  'join-rule-forbids': {
    verdicts: (world) => [
      world.member(world.rule('private'), MALLORY, MALLORY, 'join'),
      world.member(world.rule('public'), MALLORY, MALLORY, 'join'),
    ],
  },
  'third-party-invite-target-banned': {
    verdicts: (world) => invites(world, { signed: SIGNED }, world.with('ban', ALICE, MALLORY, world.offered())),
  },
  'third-party-invite-no-signed': { verdicts: (world) => invites(world, {}) },
  'third-party-invite-signed-malformed': { verdicts: (world) => invites(world, { signed: { mxid: MALLORY } }) },
  'third-party-invite-mxid-mismatch': { verdicts: (world) => invites(world, { signed: { ...SIGNED, mxid: BOB } }) },
  'third-party-invite-unknown-token': { verdicts: (world) => invites(world, { signed: SIGNED }, world.base) },
  'third-party-invite-sender-mismatch': {
    verdicts: (world) => {
      const invite = (sender: string) =>
        world.member(world.offered(), sender, MALLORY, 'invite', { third_party_invite: { signed: SIGNED } });
      return [invite(BOB), invite(ALICE)];
    },
  },
  'third-party-invite-bad-signature': {
    verdicts: (world) => invites(world, { signed: { ...SIGNED, signatures: { 'id.test': { 'ed25519:0': 'bad' } } } }),
  },
  'third-party-invite-too-many-signatures': {
    verdicts: (world) => {
      const keys = Array.from({ length: INVITE_SIGNATURE_TRIES_MAX + 1 }, (_, index) => [
        `ed25519:${index}`,
        `${index}`,
      ]);
      return invites(world, { signed: { ...SIGNED, signatures: { 'id.test': Object.fromEntries(keys) } } });
    },
  },
  'third-party-invite-unverifiable': {
    verdicts: (world) => [world.unverifiable(SIGNED), invites(world, { signed: SIGNED })[1]],
  },
  'invite-target-joined': {
    verdicts: (world) => [
      world.member(world.base, ALICE, CAROL, 'invite'),
      world.member(world.base, ALICE, MALLORY, 'invite'),
    ],
  },
  'invite-target-banned': {
    verdicts: (world) => [
      world.member(world.with('ban', ALICE, MALLORY), ALICE, MALLORY, 'invite'),
      world.member(world.with('leave', ALICE, MALLORY, world.with('ban', ALICE, MALLORY)), ALICE, MALLORY, 'invite'),
    ],
  },
  'invite-insufficient-power': {
    verdicts: (world) => [
      world.member(world.levels({ invite: 51 }), BOB, MALLORY, 'invite'),
      world.member(world.levels({ invite: 50 }), BOB, MALLORY, 'invite'),
    ],
  },
  'leave-not-in-room': {
    verdicts: (world) => [
      world.member(world.base, MALLORY, MALLORY, 'leave'),
      world.member(world.with('invite', ALICE, MALLORY), MALLORY, MALLORY, 'leave'),
    ],
  },
  'unban-insufficient-power': {
    verdicts: (world) => {
      const unban = (ban: number) =>
        world.member(world.with('ban', ALICE, MALLORY, world.levels({ ban })), BOB, MALLORY, 'leave');
      return [unban(51), unban(50)];
    },
  },
  'kick-insufficient-power': {
    verdicts: (world) => [
      world.member(world.levels({ kick: 51 }), BOB, CAROL, 'leave'),
      world.member(world.levels({ kick: 50 }), BOB, CAROL, 'leave'),
    ],
  },
  'ban-insufficient-power': {
    verdicts: (world) => [
      world.member(world.levels({ ban: 51 }), BOB, CAROL, 'ban'),
      world.member(world.levels({ ban: 50 }), BOB, CAROL, 'ban'),
    ],
  },
  'knock-rule-forbids': {
    in: (rules) => rules.knocking,
    verdicts: (world) => [
      world.member(world.rule('invite'), MALLORY, MALLORY, 'knock'),
      world.member(world.rule('knock'), MALLORY, MALLORY, 'knock'),
    ],
  },
  'knock-sender-not-target': {
    in: (rules) => rules.knocking,
    verdicts: (world) => [
      world.member(world.rule('knock'), BOB, MALLORY, 'knock'),
      world.member(world.rule('knock'), MALLORY, MALLORY, 'knock'),
    ],
  },
  'knock-not-possible': {
    in: (rules) => rules.knocking,
    verdicts: (world) => [
      world.member(world.with('invite', ALICE, MALLORY, world.rule('knock')), MALLORY, MALLORY, 'knock'),
      world.member(world.with('leave', CAROL, CAROL, world.rule('knock')), CAROL, CAROL, 'knock'),
    ],
  },
  'member-unknown-membership': {
    verdicts: (world) => [world.member(world.base, BOB, BOB, 'visit'), world.member(world.base, BOB, BOB, 'join')],
  },
  'sender-not-joined': { verdicts: (world) => [world.message(MALLORY), world.message(CAROL)] },
  'third-party-invite-insufficient-power': {
    verdicts: (world) => {
      const offer = (invite: number) =>
        world.verdict(world.levels({ invite }), BOB, 'm.room.third_party_invite', 'T', { public_key: 'key' });
      return [offer(51), offer(50)];
    },
  },
  'insufficient-power': {
    verdicts: (world) => [
      world.verdict(world.base, CAROL, 'm.room.topic', '', {}),
      world.verdict(world.base, BOB, 'm.room.topic', '', {}),
    ],
  },
  'state-key-of-other-user': {
    verdicts: (world) => [
      world.verdict(world.base, BOB, 'org.test.own', ALICE, {}),
      world.verdict(world.base, BOB, 'org.test.own', BOB, {}),
    ],
  },
  'power-levels-level-malformed': {
    in: (rules) => rules.integerPowerLevels,
    verdicts: (world) => levels(world, {}, { ban: '50' }, { ban: 50 }),
  },
  'power-levels-events-malformed': {
    in: (rules) => rules.integerPowerLevels,
    verdicts: (world) => levels(world, {}, { events: { x: '5' } }, { events: { x: 5 } }),
  },
  'power-levels-notifications-malformed': {
    in: (rules) => rules.integerPowerLevels,
    verdicts: (world) => levels(world, {}, { notifications: { room: '5' } }, { notifications: { room: 5 } }),
  },
  'power-levels-users-malformed': {
    verdicts: (world) => levels(world, {}, { users: { bob: 5 } }, {}),
  },
  'power-levels-names-creator': {
    in: (rules) => rules.privilegedCreators,
    verdicts: (world) => {
      const send = (user: string) =>
        world.verdict(world.base, ALICE, 'm.room.power_levels', '', { users: { [user]: 1 } });
      return [send(ALICE), send(BOB)];
    },
  },
  'power-levels-level-above-sender': { verdicts: (world) => levels(world, { ban: 61 }, { ban: 60 }, { ban: 61 }) },
  'power-levels-event-above-sender': {
    verdicts: (world) => levels(world, {}, { events: { x: 61 } }, { events: { x: 60 } }),
  },
  'power-levels-notification-above-sender': {
    in: (rules) => rules.checkNotificationLevels,
    verdicts: (world) => levels(world, {}, { notifications: { x: 61 } }, { notifications: { x: 60 } }),
  },
  'power-levels-user-not-below-sender': {
    verdicts: (world) =>
      levels(world, {}, { users: world.users({ [CAROL]: 0 }) }, { users: world.users({ [BOB]: 0 }) }),
  },
  'power-levels-user-above-sender': {
    verdicts: (world) =>
      levels(world, {}, { users: world.users({ [MALLORY]: 61 }) }, { users: world.users({ [MALLORY]: 60 }) }),
  },
  'redaction-insufficient-power': {
    in: (rules) => rules.redactionAuthRule,
    verdicts: (world) => [world.redact(CAROL, '$x:a.test'), world.redact(CAROL, '$x:c.test')],
  },
};
