/** What a redaction leaves, by room version. */

import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { JsonObject } from '../../../src/kernel/matrix/json.js';
import { redactContent, redactEvent } from '../../../src/kernel/matrix/redact.js';
import type { RoomVersionRules } from '../../../src/kernel/matrix/room-versions.js';
import { ROOM_VERSIONS, roomVersionRules } from '../../../src/kernel/matrix/room-versions.js';

function rulesOf(version: string): RoomVersionRules {
  const rules = roomVersionRules(version);
  if (rules === undefined) throw new Error(`no room version ${version}`);
  return rules;
}

const kept = (version: string, type: string, content: JsonObject) =>
  redactContent(rulesOf(version).redaction, type, content);

const PROTECTED_KEYS = [
  'type',
  'room_id',
  'sender',
  'state_key',
  'hashes',
  'signatures',
  'depth',
  'prev_events',
  'auth_events',
  'origin_server_ts',
];

describe('redaction', () => {
  it('keeps the signed part of a third-party invite of a member event from room version 11 on', () => {
    const content = {
      membership: 'invite',
      displayname: 'x',
      third_party_invite: { display_name: 'y', signed: { token: 't' } },
    };
    expect(kept('11', 'm.room.member', content)).toEqual({
      membership: 'invite',
      third_party_invite: { signed: { token: 't' } },
    });
    expect(kept('10', 'm.room.member', content)).toEqual({ membership: 'invite' });
  });

  it('keeps everything in the content of a create event from room version 11 on', () => {
    const content = { creator: '@a:a.test', room_version: '11', 'm.federate': false, other: 1 };
    expect(kept('11', 'm.room.create', content)).toEqual(content);
    expect(kept('10', 'm.room.create', content)).toEqual({ creator: '@a:a.test' });
  });

  it('keeps the level to invite of power levels from room version 11 on', () => {
    const content = { invite: 1, ban: 2, users: {}, notifications: { room: 50 } };
    expect(kept('11', 'm.room.power_levels', content)).toEqual({ invite: 1, ban: 2, users: {} });
    expect(kept('10', 'm.room.power_levels', content)).toEqual({ ban: 2, users: {} });
  });

  it('keeps allow of join rules from room version 8 on and the authorising user of a member event from 9 on', () => {
    const rule = { join_rule: 'restricted', allow: [] };
    expect([kept('7', 'm.room.join_rules', rule), kept('8', 'm.room.join_rules', rule)]).toEqual([
      { join_rule: 'restricted' },
      rule,
    ]);
    const join = { membership: 'join', join_authorised_via_users_server: '@a:a.test' };
    expect([kept('8', 'm.room.member', join), kept('9', 'm.room.member', join)]).toEqual([
      { membership: 'join' },
      join,
    ]);
  });

  it('keeps aliases up to room version 5 and redacts of a redaction from room version 11 on', () => {
    const aliases = { aliases: ['#a:a.test'] };
    expect([kept('5', 'm.room.aliases', aliases), kept('6', 'm.room.aliases', aliases)]).toEqual([aliases, {}]);
    const redaction = { redacts: '$x', reason: 'spam' };
    expect([kept('10', 'm.room.redaction', redaction), kept('11', 'm.room.redaction', redaction)]).toEqual([
      {},
      { redacts: '$x' },
    ]);
  });

  it('takes origin, membership and prev_state of the top level away from room version 11 on', () => {
    const event = {
      type: 'm.room.message',
      origin: 'a.test',
      membership: 'join',
      prev_state: [],
      redacts: '$x',
      unsigned: {},
    };
    expect(redactEvent(rulesOf('11').redaction, event)).toEqual({ type: 'm.room.message', content: {} });
    const { redacts: _redacts, unsigned: _unsigned, ...old } = event;
    expect(redactEvent(rulesOf('10').redaction, event)).toEqual({ ...old, content: {} });
  });

  it('keeps what the signature and the ID need, and redacting twice is redacting once', () => {
    const keys = fc.constantFrom(
      'membership',
      'users',
      'invite',
      'third_party_invite',
      'creator',
      'x',
      '__proto__',
      'constructor',
    );
    const content = fc.dictionary(keys, fc.jsonValue()) as fc.Arbitrary<JsonObject>;
    const type = fc.constantFrom(
      'm.room.member',
      'm.room.create',
      'm.room.power_levels',
      'm.room.message',
      '__proto__',
    );
    fc.assert(
      fc.property(fc.constantFrom(...ROOM_VERSIONS), type, content, (version, eventType, body) => {
        const rules = rulesOf(version).redaction;
        const event: JsonObject = {
          ...Object.fromEntries(PROTECTED_KEYS.map((key) => [key, key])),
          type: eventType,
          content: body,
          unsigned: { age: 1 },
          extra: 1,
        };
        const once = redactEvent(rules, event);
        expect(Object.keys(once).sort()).toEqual([...PROTECTED_KEYS, 'content'].sort());
        expect(redactEvent(rules, once)).toEqual(once);
      }),
    );
  });
});
