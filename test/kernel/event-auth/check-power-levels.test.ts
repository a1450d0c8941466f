/** Rule 10, m.room.power_levels: its form by room version, and what a sender may change. */

import { describe, expect, it } from 'vitest';
import { checkAuthRules } from '../../../src/kernel/event-auth/check-auth-rules.js';
import { parseLevel, userPowerLevel } from '../../../src/kernel/event-auth/power-levels.js';
import type { JsonObject, JsonValue } from '../../../src/kernel/matrix/json.js';
import { roomVersionRules } from '../../../src/kernel/matrix/room-versions.js';
import { ALICE, BOB, CAROL, type Fork, RoomBuilder } from '../../rooms/room-builder.js';

const ALL = ['1', '2', '3', '4', '5', '6', '7', '8', '9', '10', '11', '12'];

/** Current levels: Bob 60 and Carol 60, power levels at 50. The verdict on Bob's new content. */
function verdictOf(version: string, current: JsonObject, wanted: JsonObject, sender = BOB): string {
  const room = new RoomBuilder(version);
  const creator = room.rules.privilegedCreators ? {} : { [ALICE]: 100 };
  const users = { ...creator, [BOB]: 60, [CAROL]: 60 };
  const base = room.startWith([BOB, CAROL]);
  const fork = room.state(base, 'current', ALICE, 'm.room.power_levels', { users, ...current });
  return verdictOn(room, fork, sender, { users, ...wanted });
}

function verdictOn(room: RoomBuilder, fork: Fork, sender: string, content: JsonObject): string {
  const event = room.make(fork, { label: 'new', sender, type: 'm.room.power_levels', stateKey: '', content });
  const verdict = checkAuthRules(room.rules, event, room.lookupOn(fork));
  return verdict.allowed ? 'allowed' : verdict.code;
}

const NAMES = ['users_default', 'events_default', 'ban', 'redact', 'kick', 'invite'];

describe.each(ALL)('m.room.power_levels in version %s', (version) => {
  const rules = roomVersionRules(version)!;
  const creator = rules.privilegedCreators ? {} : { [ALICE]: 100 };

  it('10.1 the levels must be integers from version 10 on', () => {
    const code = rules.integerPowerLevels ? 'power-levels-level-malformed' : 'allowed';
    for (const name of [...NAMES, 'state_default']) {
      expect(verdictOf(version, {}, { [name]: '50' })).toBe(code);
      expect(verdictOf(version, {}, { [name]: null })).toBe(code);
      expect(verdictOf(version, {}, { [name]: 50 })).toBe('allowed');
    }
  });

  it('10.2 events and notifications must be objects of integers from version 10 on', () => {
    for (const name of ['events', 'notifications']) {
      const code = rules.integerPowerLevels ? `power-levels-${name}-malformed` : 'allowed';
      for (const wrong of [[], 'x', null, { room: '50' }, { room: null }, { room: 5.5 }] as JsonValue[]) {
        expect(verdictOf(version, {}, { [name]: wrong })).toBe(code);
      }
      expect(verdictOf(version, {}, { [name]: { room: 50 } })).toBe('allowed');
    }
  });

  it('a level outside the range of a double is refused, wherever it stands', () => {
    const beyond = JSON.parse('1e400') as number;
    for (const name of [...NAMES, 'state_default']) {
      expect(verdictOf(version, {}, { [name]: beyond })).toBe('power-levels-level-malformed');
    }
    for (const name of ['events', 'notifications']) {
      expect(verdictOf(version, {}, { [name]: { x: -beyond } })).toBe(`power-levels-${name}-malformed`);
    }
    expect(verdictOf(version, {}, { users: { [BOB]: beyond } })).toBe('power-levels-users-malformed');
  });

  it('10.3 users must be an object of user IDs and integers', () => {
    const malformed = 'power-levels-users-malformed';
    for (const wrong of [[], 'x', null, { bob: 5 }, { '@bob': 5 }, { [BOB]: null }, { [BOB]: 'five' }] as JsonValue[]) {
      expect(verdictOf(version, {}, { users: wrong })).toBe(malformed);
    }
    const users = { ...creator, [BOB]: ' +060 ', [CAROL]: 60 };
    expect(verdictOf(version, {}, { users })).toBe(rules.integerPowerLevels ? malformed : 'allowed');
  });

  it('10.4 users must not name a creator, from version 12 on', () => {
    if (!rules.privilegedCreators) return;
    const room = new RoomBuilder(version);
    const base = room.startWith([BOB, CAROL], {}, { additional_creators: [CAROL] });
    expect(verdictOn(room, base, ALICE, { users: { [ALICE]: 100 } })).toBe('power-levels-names-creator');
    expect(verdictOn(room, base, ALICE, { users: { [CAROL]: 0 } })).toBe('power-levels-names-creator');
    expect(verdictOn(room, base, ALICE, { users: { [BOB]: 100 } })).toBe('allowed');
    expect(verdictOn(room, base, CAROL, { users: { [BOB]: 2 ** 53 - 1 } })).toBe('allowed');
  });

  it('10.5 the first power levels are allowed, whatever they grant', () => {
    const room = new RoomBuilder(version);
    const base = room.startWith([BOB]);
    const without = new Map([...base.state].filter(([key]) => !key.startsWith('m.room.power_levels')));
    const users = { [BOB]: 9_000 };
    expect(verdictOn(room, { ...base, state: without }, ALICE, { users })).toBe('allowed');
  });

  it.each(NAMES)('10.6 %s may be added, changed or removed up to the own level', (name) => {
    const above = 'power-levels-level-above-sender';
    expect(verdictOf(version, {}, { [name]: 60 })).toBe('allowed');
    expect(verdictOf(version, {}, { [name]: 61 })).toBe(above);
    expect(verdictOf(version, { [name]: 60 }, { [name]: 1 })).toBe('allowed');
    expect(verdictOf(version, { [name]: 60 }, {})).toBe('allowed');
    expect(verdictOf(version, { [name]: 61 }, { [name]: 1 })).toBe(above);
    expect(verdictOf(version, { [name]: 61 }, {})).toBe(above);
    expect(verdictOf(version, { [name]: 61 }, { [name]: 61 })).toBe('allowed');
  });

  it.each([
    ['events', 'power-levels-event-above-sender', true],
    ['notifications', 'power-levels-notification-above-sender', rules.checkNotificationLevels],
  ])('10.7 and 10.8 entries of %s may be added, changed or removed up to the own level', (name, refusal, checked) => {
    const above = checked ? refusal : 'allowed';
    expect(verdictOf(version, {}, { [name]: { x: 60 } })).toBe('allowed');
    expect(verdictOf(version, {}, { [name]: { x: 61 } })).toBe(above);
    expect(verdictOf(version, { [name]: { x: 61 } }, { [name]: { x: 0 } })).toBe(above);
    expect(verdictOf(version, { [name]: { x: 61 } }, {})).toBe(above);
    expect(verdictOf(version, { [name]: { x: 61 } }, { [name]: { x: 61 } })).toBe('allowed');
    expect(verdictOf(version, { [name]: { x: 60 } }, { [name]: { x: 59 } })).toBe('allowed');
  });

  it('10.9 other users may be changed or removed only below the own level, oneself always downwards', () => {
    const notBelow = 'power-levels-user-not-below-sender';
    expect(verdictOf(version, {}, { users: { ...creator, [BOB]: 60, [CAROL]: 0 } })).toBe(notBelow);
    expect(verdictOf(version, {}, { users: { ...creator, [BOB]: 60 } })).toBe(notBelow);
    expect(verdictOf(version, {}, { users: { ...creator, [CAROL]: 60 } })).toBe('allowed');
    expect(verdictOf(version, {}, { users: { ...creator, [BOB]: 0, [CAROL]: 60 } })).toBe('allowed');
    expect(verdictOf(version, {}, { users: { ...creator, [CAROL]: 0 } }, ALICE)).toBe('allowed');
  });

  it('10.10 users may be raised up to the own level', () => {
    const users = { ...creator, [BOB]: 60, [CAROL]: 60 };
    expect(verdictOf(version, {}, { users: { ...users, '@dan:d.test': 60 } })).toBe('allowed');
    expect(verdictOf(version, {}, { users: { ...users, '@dan:d.test': 61 } })).toBe('power-levels-user-above-sender');
    expect(verdictOf(version, {}, { users: { ...users, [BOB]: 61 } })).toBe('power-levels-user-above-sender');
  });

  it('a key named __proto__ is a key like any other', () => {
    const events = JSON.parse('{"__proto__": 61}') as JsonObject;
    expect(verdictOf(version, {}, { events })).toBe('power-levels-event-above-sender');
  });
});

describe('a level', () => {
  const level = (version: string, value: JsonValue) => parseLevel(roomVersionRules(version)!, value);
  it('may be a string that holds an integer up to version 9', () => {
    expect(['100', '000100', '+100', '-100', ' 100 '].map((text) => level('9', text))).toEqual([
      100, 100, 100, -100, 100,
    ]);
    for (const wrong of ['', ' ', '1.5', '1e3', '0x10', '+-1', '1_000', 'Infinity', '9'.repeat(400)]) {
      expect(level('9', wrong)).toBeUndefined();
    }
    expect(level('10', '100')).toBeUndefined();
  });
  it('may be a float up to version 5, cut at the point', () => {
    expect([5.114698e4, 51146.98, -0.5, 50.57].map((value) => level('5', value))).toEqual([51146, 51146, -0, 50]);
    expect(level('5', Number.POSITIVE_INFINITY)).toBeUndefined();
    expect(level('6', 50.57)).toBeUndefined();
  });
  it('is nothing else', () => {
    for (const wrong of [null, true, [], {}, [5]] as JsonValue[]) expect(level('1', wrong)).toBeUndefined();
  });
});

describe('the power level of a user', () => {
  it('is infinite for creators from version 12 on, and by the power levels for everyone else', () => {
    const room = new RoomBuilder('12');
    const fork = room.startWith([BOB, CAROL], { [CAROL]: 7 }, { additional_creators: [BOB] });
    const levels = [ALICE, BOB, CAROL, '@dan:d.test'].map((user) =>
      userPowerLevel(room.rules, room.lookupOn(fork), user),
    );
    expect(levels).toEqual([Number.POSITIVE_INFINITY, Number.POSITIVE_INFINITY, 7, 0]);
  });
  it('is 100 for the creator of a room without power levels up to version 11', () => {
    for (const version of ['1', '10', '11']) {
      const room = new RoomBuilder(version);
      const { state } = room.start();
      const create = room.events.get(state.values().next().value!)!;
      const lookup = (type: string) => (type === 'm.room.create' ? create : undefined);
      expect([ALICE, BOB].map((user) => userPowerLevel(room.rules, lookup, user))).toEqual([100, 0]);
    }
  });
});
