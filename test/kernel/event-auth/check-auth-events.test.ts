/** The auth events selection, and the rule about the list of auth events. */

import { describe, expect, it } from 'vitest';
import { authEventTypes } from '../../../src/kernel/event-auth/auth-event-types.js';
import { checkAuthEvents } from '../../../src/kernel/event-auth/check-auth-events.js';
import { checkAuthRules } from '../../../src/kernel/event-auth/check-auth-rules.js';
import { stateOfAuthEvents } from '../../../src/kernel/event-auth/state-lookup.js';
import type { AuthEvent } from '../../../src/kernel/matrix/auth-event.js';
import type { RoomId, UserId } from '../../../src/kernel/matrix/ids.js';
import type { JsonObject } from '../../../src/kernel/matrix/json.js';
import { roomVersionRules } from '../../../src/kernel/matrix/room-versions.js';
import { ALICE, BOB, CAROL, RoomBuilder } from '../../rooms/room-builder.js';

function selection(version: string, type: string, stateKey: string | undefined, content: JsonObject): string[] {
  const pairs = authEventTypes(roomVersionRules(version)!, { type, stateKey, sender: ALICE as UserId, content });
  return pairs.map(([pairType, pairKey]) => `${pairType.replace('m.room.', '')} ${pairKey}`.trim()).sort();
}

const member = (version: string, stateKey: string, content: JsonObject) =>
  selection(version, 'm.room.member', stateKey, content);

describe('the auth events selection', () => {
  const base = ['create', `member ${ALICE}`, 'power_levels'];

  it('is empty for m.room.create', () => {
    expect(selection('11', 'm.room.create', '', {})).toEqual([]);
    expect(selection('12', 'm.room.create', '', {})).toEqual([]);
  });
  it('has the create event, the power levels and the sender; from version 12 on no create event', () => {
    expect(selection('11', 'm.room.message', undefined, {})).toEqual(base);
    expect(selection('12', 'm.room.message', undefined, {})).toEqual(base.slice(1));
  });
  it('has the target of m.room.member, once where it is the sender', () => {
    expect(member('11', BOB, { membership: 'ban' })).toEqual([
      'create',
      `member ${ALICE}`,
      `member ${BOB}`,
      'power_levels',
    ]);
    expect(member('11', ALICE, { membership: 'leave' })).toEqual(base);
  });
  it('has the join rules for join, invite and knock', () => {
    for (const membership of ['join', 'invite', 'knock']) {
      expect(member('11', ALICE, { membership })).toEqual(['create', 'join_rules', `member ${ALICE}`, 'power_levels']);
    }
    for (const membership of ['leave', 'ban', 'other']) expect(member('11', ALICE, { membership })).toEqual(base);
  });
  it('has the third-party invite that an invite redeems', () => {
    const content = { membership: 'invite', third_party_invite: { signed: { token: 'T' } } };
    expect(member('11', ALICE, content)).toContain('third_party_invite T');
    expect(member('11', ALICE, { ...content, membership: 'join' })).not.toContain('third_party_invite T');
    for (const malformed of [5, null, { signed: 5 }, { signed: { token: 5 } }, {}]) {
      const pairs = member('11', ALICE, { membership: 'invite', third_party_invite: malformed });
      expect(pairs).toEqual(['create', 'join_rules', `member ${ALICE}`, 'power_levels']);
    }
  });
  it('has the user who authorised a restricted join, from version 8 on', () => {
    const content = { membership: 'join', join_authorised_via_users_server: CAROL };
    expect(member('8', ALICE, content)).toContain(`member ${CAROL}`);
    expect(member('7', ALICE, content)).not.toContain(`member ${CAROL}`);
    expect(member('11', ALICE, { ...content, membership: 'leave' })).toEqual(base);
    const own = member('11', ALICE, { ...content, join_authorised_via_users_server: ALICE });
    expect(own.filter((pair) => pair === `member ${ALICE}`)).toHaveLength(1);
  });
});

describe.each(['1', '11', '12'])('the list of auth events in version %s', (version) => {
  const room = new RoomBuilder(version);
  const base = room.startWith([BOB]);
  const event = room.make(base, { label: 'topic', sender: ALICE, type: 'm.room.topic', stateKey: '', content: {} });
  const listed = event.authEventIds.map((id) => room.events.get(id)!);
  const labelled = (label: string) => room.events.get(room.idOf(label))!;
  const verdict = (authEvents: readonly AuthEvent[]) => {
    const answer = checkAuthEvents(room.rules, event, authEvents);
    return answer.allowed ? 'allowed' : answer.code;
  };

  it('is allowed as the selection makes it', () => {
    expect(verdict(listed)).toBe('allowed');
  });
  it('3.1 is refused with two entries of one type and state_key', () => {
    const other = { ...labelled('power-levels'), eventId: room.idOf('other') };
    expect(verdict([...listed, other])).toBe('auth-event-duplicate');
    expect(verdict([...listed, listed[0]!])).toBe('auth-event-duplicate');
  });
  it('3.2 is refused with an entry that the selection does not pick', () => {
    expect(verdict([...listed, labelled('join-rules')])).toBe('auth-event-not-selected');
    expect(verdict([...listed, labelled('join-bob')])).toBe('auth-event-not-selected');
    expect(verdict([{ ...listed[0]!, stateKey: undefined }, ...listed])).toBe('auth-event-not-selected');
  });
  it('3.3 is refused with a rejected entry', () => {
    expect(verdict(listed.map((entry) => ({ ...entry, rejected: true })))).toBe('auth-event-rejected');
  });
  it('3.5 is refused with an entry of another room', () => {
    const roomId = '!other:a.test' as RoomId;
    expect(verdict([{ ...listed[0]!, roomId }, ...listed.slice(1)])).toBe('auth-event-other-room');
  });
  it('needs the create event up to version 11, and refuses it from version 12 on', () => {
    const create = labelled('create');
    const without = listed.filter((entry) => entry !== create);
    const implied = room.rules.roomIdIsCreateEventHash;
    expect(verdict(without)).toBe(implied ? 'allowed' : 'auth-event-no-create');
    expect(verdict([...without, create])).toBe(implied ? 'auth-event-not-selected' : 'allowed');
  });
  it('is no matter for m.room.create', () => {
    expect(checkAuthEvents(room.rules, labelled('create'), [])).toEqual({ allowed: true });
  });
  it('makes a state against which the event passes', () => {
    const state = stateOfAuthEvents(room.rules, listed, labelled('create'));
    expect(checkAuthRules(room.rules, event, state)).toEqual({ allowed: true });
    expect(state('m.room.create', 'x')).toBeUndefined();
    const empty = checkAuthRules(room.rules, event, stateOfAuthEvents(room.rules, [], undefined));
    expect(empty).toMatchObject({ allowed: false, code: 'no-create' });
  });
});
