/** The authorization rules, each allowed and refused, in the order of the specification. */

import { describe, expect, it } from 'vitest';
import { checkAuthRules } from '../../../src/kernel/event-auth/check-auth-rules.js';
import type { AuthEvent } from '../../../src/kernel/matrix/auth-event.js';
import type { EventId, RoomId, UserId } from '../../../src/kernel/matrix/ids.js';
import type { JsonObject } from '../../../src/kernel/matrix/json.js';
import { ALICE, BOB, CAROL, type Fork, MALLORY, RoomBuilder } from '../../rooms/room-builder.js';

const ALL = ['1', '2', '3', '4', '5', '6', '7', '8', '9', '10', '11', '12'];
const versionsFrom = (first: string) => ALL.slice(ALL.indexOf(first));
const versionsTo = (last: string) => ALL.slice(0, ALL.indexOf(last) + 1);
const EMPTY: Fork = { state: new Map(), last: undefined };

/** The verdict on an event that `sender` makes on the fork: 'allowed' or the code. */
function verdictOn(
  room: RoomBuilder,
  fork: Fork,
  sender: string,
  type: string,
  stateKey: string | undefined,
  content: JsonObject,
  change: Partial<AuthEvent> = {},
): string {
  const keyed = stateKey === undefined ? {} : { stateKey };
  const event = { ...room.make(fork, { label: 'tested', sender, type, content, ...keyed }), ...change };
  const verdict = checkAuthRules(room.rules, event, room.lookupOn(fork));
  return verdict.allowed ? 'allowed' : verdict.code;
}

const memberOn = (room: RoomBuilder, fork: Fork, sender: string, target: string, membership: string, more = {}) =>
  verdictOn(room, fork, sender, 'm.room.member', target, { membership, ...more });

/** A room of Alice (creator), Bob (50), Carol (0), all joined; Mallory is not in it. */
function roomOf(version: string): { room: RoomBuilder; base: Fork } {
  const room = new RoomBuilder(version);
  return { room, base: room.startWith([BOB, CAROL], { [BOB]: 50 }) };
}

const joinRule = (room: RoomBuilder, fork: Fork, rule: string) =>
  room.state(fork, `rule-${rule}`, ALICE, 'm.room.join_rules', { join_rule: rule });

describe.each(ALL)('rule 1, m.room.create, in version %s', (version) => {
  const room = new RoomBuilder(version);
  const creator = room.rules.creatorInContent ? { creator: ALICE } : {};
  const create = (content: JsonObject, change: Partial<AuthEvent> = {}) => {
    const eventId = room.idOf('create');
    return verdictOn(room, EMPTY, ALICE, 'm.room.create', '', { ...creator, ...content }, { eventId, ...change });
  };

  it('is allowed as the first event of a room, and with a recognised room_version', () => {
    expect(create({})).toBe('allowed');
    expect(create({ room_version: version })).toBe('allowed');
  });
  it('1.1 is refused with prev_events', () => {
    expect(create({}, { prevEventIds: ['$other' as EventId] })).toBe('create-has-prev-events');
  });
  it('1.2 is refused with a room ID that is not its own', () => {
    const code = room.rules.roomIdIsCreateEventHash ? 'create-has-room-id' : 'sender-domain-mismatch';
    expect(create({}, { roomId: '!room:other.test' as RoomId })).toBe(code);
  });
  it('1.3 is refused with a room_version that is not recognised', () => {
    expect(create({ room_version: 'unheard-of' })).toBe('create-room-version-unknown');
    expect(create({ room_version: 11 })).toBe('create-room-version-unknown');
  });
  it('1.4 needs content.creator up to version 10', () => {
    const verdict = verdictOn(room, EMPTY, ALICE, 'm.room.create', '', {}, { eventId: room.idOf('create') });
    expect(verdict).toBe(room.rules.creatorInContent ? 'create-no-creator' : 'allowed');
  });
  it('1.4 is refused from version 12 on with additional_creators that are not an array of user IDs', () => {
    const code = room.rules.privilegedCreators ? 'create-additional-creators-malformed' : 'allowed';
    for (const wrong of [BOB, null, {}, [BOB, 'bob'], [BOB, 5], ['@bob:not a server']]) {
      expect(create({ additional_creators: wrong })).toBe(code);
    }
    expect(create({ additional_creators: [] })).toBe('allowed');
    expect(create({ additional_creators: [BOB, CAROL] })).toBe('allowed');
  });
});

describe.each(ALL)('the room, in version %s', (version) => {
  it('every event needs a create event in the room state', () => {
    const { room } = roomOf(version);
    expect(verdictOn(room, EMPTY, ALICE, 'm.room.message', undefined, {})).toBe('no-create');
    expect(memberOn(room, EMPTY, ALICE, ALICE, 'join')).toBe('no-create');
  });
  it('rule 4: with m.federate false only the servers of the creator may send', () => {
    const room = new RoomBuilder(version);
    const base = room.start({}, { 'm.federate': false });
    expect(memberOn(room, base, BOB, BOB, 'join')).toBe('not-federated');
    expect(memberOn(room, base, '@zoe:a.test', '@zoe:a.test', 'join')).toBe('allowed');
    const open = new RoomBuilder(version);
    expect(memberOn(open, open.start({}, { 'm.federate': true }), BOB, BOB, 'join')).toBe('allowed');
  });
});

describe('rule 2 of version 12', () => {
  it('refuses an event whose room ID is not that of the create event', () => {
    const { room, base } = roomOf('12');
    const change = { roomId: '!another' as RoomId };
    expect(verdictOn(room, base, ALICE, 'm.room.message', undefined, {}, change)).toBe('room-id-not-create-event');
  });
  it('refuses an event of a room whose create event was rejected', () => {
    const { room, base } = roomOf('12');
    const create = room.events.get(room.idOf('create'))!;
    room.events.set(create.eventId, { ...create, rejected: true });
    expect(verdictOn(room, base, ALICE, 'm.room.message', undefined, {})).toBe('create-event-rejected');
  });
});

describe.each(versionsTo('5'))('m.room.aliases in version %s', (version) => {
  it('is allowed for the own domain, also from outside the room', () => {
    const { room, base } = roomOf(version);
    expect(verdictOn(room, base, MALLORY, 'm.room.aliases', 'm.test', {})).toBe('allowed');
    expect(verdictOn(room, base, MALLORY, 'm.room.aliases', 'a.test', {})).toBe('aliases-domain-mismatch');
    expect(verdictOn(room, base, MALLORY, 'm.room.aliases', undefined, {})).toBe('aliases-no-state-key');
  });
});

describe.each(versionsFrom('6'))('m.room.aliases in version %s', (version) => {
  it('is an event like any other', () => {
    const { room, base } = roomOf(version);
    expect(verdictOn(room, base, MALLORY, 'm.room.aliases', 'm.test', {})).toBe('sender-not-joined');
    expect(verdictOn(room, base, ALICE, 'm.room.aliases', 'm.test', {})).toBe('allowed');
  });
});

describe.each(ALL)('m.room.member in version %s', (version) => {
  const { room, base } = roomOf(version);
  const { rules } = room;

  it('5.1 needs a state_key that is a user ID, and a membership', () => {
    const member = (key: string | undefined, content: JsonObject) =>
      verdictOn(room, base, BOB, 'm.room.member', key, content);
    expect(member(undefined, { membership: 'join' })).toBe('member-no-state-key');
    expect(member('carol', { membership: 'ban' })).toBe('member-state-key-not-user-id');
    expect(member(BOB, {})).toBe('member-no-membership');
  });
  it('5.8 is refused with a membership that is unknown', () => {
    expect(memberOn(room, base, BOB, BOB, 'visiting')).toBe('member-unknown-membership');
    expect(verdictOn(room, base, BOB, 'm.room.member', BOB, { membership: 7 })).toBe('member-unknown-membership');
  });

  describe('5.3 join', () => {
    it('5.3.1 the creator joins right after the create event', () => {
      const first = room.state(EMPTY, 'create', ALICE, 'm.room.create', base.last ? createContent(room) : {});
      expect(memberOn(room, first, ALICE, ALICE, 'join')).toBe('allowed');
      expect(memberOn(room, first, BOB, BOB, 'join')).toBe('join-not-invited');
      const two = { ...first, last: { ...first.last!, eventId: '$another' as EventId } };
      expect(memberOn(room, two, ALICE, ALICE, 'join')).toBe('join-not-invited');
    });
    it('5.3.2 nobody joins for another', () => {
      expect(memberOn(room, base, BOB, MALLORY, 'join')).toBe('join-sender-not-target');
    });
    it('5.3.3 a banned user does not join', () => {
      const banned = room.member(base, 'ban', ALICE, MALLORY, 'ban');
      expect(memberOn(room, banned, MALLORY, MALLORY, 'join')).toBe('member-banned');
    });
    it('5.3.4 with join rule invite only who was invited or is joined', () => {
      const closed = joinRule(room, base, 'invite');
      expect(memberOn(room, closed, MALLORY, MALLORY, 'join')).toBe('join-not-invited');
      expect(memberOn(room, closed, BOB, BOB, 'join')).toBe('allowed');
      const invited = room.member(closed, 'invite', BOB, MALLORY, 'invite');
      expect(memberOn(room, invited, MALLORY, MALLORY, 'join')).toBe('allowed');
    });
    it('5.3.4 with join rule knock likewise, from version 7 on', () => {
      const closed = joinRule(room, base, 'knock');
      expect(memberOn(room, closed, MALLORY, MALLORY, 'join')).toBe(
        rules.knocking ? 'join-not-invited' : 'join-rule-forbids',
      );
      expect(memberOn(room, closed, BOB, BOB, 'join')).toBe(rules.knocking ? 'allowed' : 'join-rule-forbids');
    });
    it.each([
      ['restricted', rules.restrictedJoins],
      ['knock_restricted', rules.knockRestricted],
    ])('5.3.5 with join rule %s who is joined, invited, or authorised by a user who may invite', (rule, known) => {
      const code = (expected: string) => (known ? expected : 'join-rule-forbids');
      const users = { ...(rules.privilegedCreators ? {} : { [ALICE]: 100 }), [BOB]: 50 };
      let fork = joinRule(room, base, rule);
      fork = room.state(fork, 'invite-50', ALICE, 'm.room.power_levels', { users, invite: 50 });
      expect(memberOn(room, fork, BOB, BOB, 'join')).toBe(code('allowed'));
      const join = (via?: unknown) =>
        memberOn(room, fork, MALLORY, MALLORY, 'join', { join_authorised_via_users_server: via });
      expect(join()).toBe(code('join-not-authorised'));
      expect(join(5)).toBe(code('join-not-authorised'));
      expect(join(BOB)).toBe(code('allowed'));
      expect(join(CAROL)).toBe(code('join-authoriser-insufficient-power'));
      expect(join('@nobody:b.test')).toBe(code('join-authoriser-not-joined'));
      const banned = room.member(fork, 'ban', ALICE, MALLORY, 'ban');
      expect(memberOn(room, banned, MALLORY, MALLORY, 'join', { join_authorised_via_users_server: BOB })).toBe(
        'member-banned',
      );
    });
    it('5.3.6 and 5.3.7 with join rule public everybody, with an unknown one nobody', () => {
      expect(memberOn(room, base, MALLORY, MALLORY, 'join')).toBe('allowed');
      expect(memberOn(room, base, BOB, BOB, 'join')).toBe('allowed');
      expect(memberOn(room, joinRule(room, base, 'private'), BOB, BOB, 'join')).toBe('join-rule-forbids');
    });
  });

  describe('5.4 invite', () => {
    it('is allowed from a joined user with the invite level to one who is neither joined nor banned', () => {
      expect(memberOn(room, base, CAROL, MALLORY, 'invite')).toBe('allowed');
      const invited = room.member(base, 'invite', CAROL, MALLORY, 'invite');
      expect(memberOn(room, invited, CAROL, MALLORY, 'invite')).toBe('allowed');
    });
    it('is refused otherwise', () => {
      expect(memberOn(room, base, MALLORY, '@friend:m.test', 'invite')).toBe('sender-not-joined');
      expect(memberOn(room, base, CAROL, BOB, 'invite')).toBe('invite-target-joined');
      const banned = room.member(base, 'ban', ALICE, MALLORY, 'ban');
      expect(memberOn(room, banned, CAROL, MALLORY, 'invite')).toBe('invite-target-banned');
      const users = { ...(rules.privilegedCreators ? {} : { [ALICE]: 100 }), [BOB]: 50 };
      const strict = room.state(base, 'strict', ALICE, 'm.room.power_levels', { users, invite: 50 });
      expect(memberOn(room, strict, CAROL, MALLORY, 'invite')).toBe('invite-insufficient-power');
      expect(memberOn(room, strict, BOB, MALLORY, 'invite')).toBe('allowed');
    });
  });

  describe('5.5 leave', () => {
    it('5.5.1 is allowed to oneself when joined or invited, from version 7 on when knocking', () => {
      expect(memberOn(room, base, CAROL, CAROL, 'leave')).toBe('allowed');
      const invited = room.member(base, 'invite', CAROL, MALLORY, 'invite');
      expect(memberOn(room, invited, MALLORY, MALLORY, 'leave')).toBe('allowed');
      expect(memberOn(room, base, MALLORY, MALLORY, 'leave')).toBe('leave-not-in-room');
      const banned = room.member(base, 'ban', ALICE, MALLORY, 'ban');
      expect(memberOn(room, banned, MALLORY, MALLORY, 'leave')).toBe('leave-not-in-room');
      const knocking = room.send(joinRule(room, base, 'knock'), {
        label: 'knock',
        sender: MALLORY,
        type: 'm.room.member',
        stateKey: MALLORY,
        content: { membership: 'knock' },
        forbidden: true,
      });
      expect(memberOn(room, knocking, MALLORY, MALLORY, 'leave')).toBe(
        rules.knocking ? 'allowed' : 'leave-not-in-room',
      );
    });
    it('kicks: with the kick level, and only users with less power', () => {
      expect(memberOn(room, base, BOB, CAROL, 'leave')).toBe('allowed');
      expect(memberOn(room, base, CAROL, BOB, 'leave')).toBe('kick-insufficient-power');
      expect(memberOn(room, base, BOB, ALICE, 'leave')).toBe('kick-insufficient-power');
      expect(memberOn(room, base, MALLORY, CAROL, 'leave')).toBe('sender-not-joined');
    });
    it('unbans: with the ban and the kick level', () => {
      const users = { ...(rules.privilegedCreators ? {} : { [ALICE]: 100 }), [BOB]: 50 };
      let fork = room.member(base, 'ban', ALICE, MALLORY, 'ban');
      expect(memberOn(room, fork, BOB, MALLORY, 'leave')).toBe('allowed');
      fork = room.state(fork, 'ban-60', ALICE, 'm.room.power_levels', { users, ban: 60 });
      expect(memberOn(room, fork, BOB, MALLORY, 'leave')).toBe('unban-insufficient-power');
      expect(memberOn(room, fork, ALICE, MALLORY, 'leave')).toBe('allowed');
    });
  });

  it('5.6 ban: from a joined user with the ban level, of users with less power, joined or not', () => {
    expect(memberOn(room, base, BOB, CAROL, 'ban')).toBe('allowed');
    expect(memberOn(room, base, BOB, MALLORY, 'ban')).toBe('allowed');
    expect(memberOn(room, base, CAROL, MALLORY, 'ban')).toBe('ban-insufficient-power');
    expect(memberOn(room, base, BOB, BOB, 'ban')).toBe('ban-insufficient-power');
    expect(memberOn(room, base, MALLORY, CAROL, 'ban')).toBe('sender-not-joined');
  });

  it('5.7 knock, from version 7 on: oneself, where the join rule allows it, unless banned, invited or joined', () => {
    const code = (expected: string) => (rules.knocking ? expected : 'member-unknown-membership');
    const open = joinRule(room, base, 'knock');
    expect(memberOn(room, open, MALLORY, MALLORY, 'knock')).toBe(code('allowed'));
    expect(memberOn(room, base, MALLORY, MALLORY, 'knock')).toBe(code('knock-rule-forbids'));
    expect(memberOn(room, open, BOB, MALLORY, 'knock')).toBe(code('knock-sender-not-target'));
    expect(memberOn(room, open, BOB, BOB, 'knock')).toBe(code('knock-not-possible'));
    for (const membership of ['invite', 'ban']) {
      const fork = room.member(open, membership, ALICE, MALLORY, membership);
      expect(memberOn(room, fork, MALLORY, MALLORY, 'knock')).toBe(code('knock-not-possible'));
    }
    const both = joinRule(room, base, 'knock_restricted');
    expect(memberOn(room, both, MALLORY, MALLORY, 'knock')).toBe(
      rules.knockRestricted ? 'allowed' : code('knock-rule-forbids'),
    );
  });
});

function createContent(room: RoomBuilder): JsonObject {
  return room.events.get(room.idOf('create'))!.content;
}

describe.each(ALL)('rules 6 to 9 and 11 in version %s', (version) => {
  const { room, base } = roomOf(version);

  it('6. the sender must be joined', () => {
    expect(verdictOn(room, base, CAROL, 'm.room.message', undefined, {})).toBe('allowed');
    expect(verdictOn(room, base, MALLORY, 'm.room.message', undefined, {})).toBe('sender-not-joined');
  });
  it('7. m.room.third_party_invite needs the invite level, and that alone', () => {
    const creator = room.rules.privilegedCreators ? {} : { [ALICE]: 100 };
    const strict = room.state(base, 'strict', ALICE, 'm.room.power_levels', {
      users: { ...creator, [BOB]: 50 },
      invite: 50,
      events: { 'm.room.third_party_invite': 100 },
    });
    const invite = (sender: string) => verdictOn(room, strict, sender, 'm.room.third_party_invite', 'token', {});
    expect(invite(BOB)).toBe('allowed');
    expect(invite(CAROL)).toBe('third-party-invite-insufficient-power');
    expect(invite(MALLORY)).toBe('sender-not-joined');
  });
  it('8. the required power level is that of the type, of state_default 50, of events_default 0', () => {
    const creator = room.rules.privilegedCreators ? {} : { [ALICE]: 100 };
    expect(verdictOn(room, base, BOB, 'm.room.topic', '', {})).toBe('allowed');
    expect(verdictOn(room, base, CAROL, 'm.room.topic', '', {})).toBe('insufficient-power');
    const levels = room.state(base, 'levels', ALICE, 'm.room.power_levels', {
      users: { ...creator, [BOB]: 50 },
      events: { 'm.room.topic': 0, 'm.reaction': 51 },
      events_default: 10,
      state_default: 60,
      users_default: 10,
    });
    expect(verdictOn(room, levels, CAROL, 'm.room.topic', '', {})).toBe('allowed');
    expect(verdictOn(room, levels, CAROL, 'm.room.message', undefined, {})).toBe('allowed');
    expect(verdictOn(room, levels, BOB, 'm.room.name', '', {})).toBe('insufficient-power');
    expect(verdictOn(room, levels, BOB, 'm.reaction', undefined, {})).toBe('insufficient-power');
  });
  it('8. without m.room.power_levels the creator may send state and others may not', () => {
    const keep = [...base.state].filter(([key]) => !key.startsWith('m.room.power_levels'));
    const without = { ...base, state: new Map(keep) };
    expect(verdictOn(room, without, ALICE, 'm.room.topic', '', {})).toBe('allowed');
    expect(verdictOn(room, without, BOB, 'm.room.topic', '', {})).toBe('insufficient-power');
    expect(verdictOn(room, without, BOB, 'm.room.message', undefined, {})).toBe('allowed');
  });
  it('9. a state_key that is the ID of another user is refused', () => {
    expect(verdictOn(room, base, BOB, 'org.test.own', BOB, {})).toBe('allowed');
    expect(verdictOn(room, base, BOB, 'org.test.own', 'bob', {})).toBe('allowed');
    expect(verdictOn(room, base, ALICE, 'org.test.own', BOB, {})).toBe('state-key-of-other-user');
  });
  it('11. m.room.redaction has a rule of its own in versions 1 and 2 only', () => {
    const redact = (sender: string, target: string) =>
      verdictOn(
        room,
        base,
        sender,
        'm.room.redaction',
        undefined,
        {},
        {
          eventId: '$redaction:c.test' as EventId,
          redacts: target as EventId,
        },
      );
    expect(redact(BOB, '$x:a.test')).toBe('allowed');
    expect(redact(CAROL, '$x:c.test')).toBe('allowed');
    expect(redact(CAROL, '$x:a.test')).toBe(room.rules.redactionAuthRule ? 'redaction-insufficient-power' : 'allowed');
  });
});

describe('the sender of a join', () => {
  it('counts as the creator by content.creator up to version 10, by the sender of m.room.create afterwards', () => {
    for (const version of ['10', '11']) {
      const room = new RoomBuilder(version);
      const fork = room.state(EMPTY, 'create', ALICE, 'm.room.create', { creator: BOB });
      const expected = version === '10' ? ['join-not-invited', 'allowed'] : ['allowed', 'join-not-invited'];
      expect([ALICE, BOB].map((user) => memberOn(room, fork, user as UserId, user, 'join'))).toEqual(expected);
    }
  });
});
