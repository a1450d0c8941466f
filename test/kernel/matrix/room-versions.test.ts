/** Room versions as data: every rule of every version against a second reading of the specification, and what it does. */

import { describe, expect, it } from 'vitest';
import { benchKey, lookupOf } from '../../../bench/signed-room.js';
import type { EventId } from '../../../src/kernel/matrix/ids.js';
import type { JsonObject } from '../../../src/kernel/matrix/json.js';
import { parsePdu } from '../../../src/kernel/matrix/parse-pdu.js';
import { redactEvent } from '../../../src/kernel/matrix/redact.js';
import type { RoomVersionRules } from '../../../src/kernel/matrix/room-versions.js';
import { ROOM_VERSIONS, roomVersionRules } from '../../../src/kernel/matrix/room-versions.js';
import { eventIdOf } from '../../../src/kernel/signatures/hash-pdu.js';
import { hashAndSignPdu } from '../../../src/kernel/signatures/sign-pdu.js';
import { requiredSigners, verifyPdu } from '../../../src/kernel/signatures/verify-pdu.js';
import type { Span } from '../../vectors/room-version-facts.js';
import {
  KEPT_AT_TOP,
  KEPT_IN_CONTENT,
  NEVER_KEPT,
  RULE_SPANS,
  RULE_VALUES,
  SIGNED_INVITE_KEPT,
} from '../../vectors/room-version-facts.js';

const holds = ([first, last]: Span, version: number): boolean => version >= first && version <= last;
const keysThat = (spans: Readonly<Record<string, Span>>, version: number): string[] =>
  Object.keys(spans)
    .filter((key) => holds(spans[key] as Span, version))
    .sort();

function rulesOf(version: number): RoomVersionRules {
  const rules = roomVersionRules(String(version));
  if (rules === undefined) throw new Error(`no room version ${version}`);
  return rules;
}

const key = benchKey('a.test');

function eventOf(rules: RoomVersionRules, change: JsonObject = {}): JsonObject {
  const isOld = rules.eventReferenceForm === 'pair';
  return {
    type: 'm.room.message',
    room_id: '!r:a.test',
    sender: '@a:a.test',
    content: { body: 'x' },
    depth: 1,
    origin_server_ts: 1_700_000_000_000,
    auth_events: isOld ? [['$a:a.test', { sha256: 'x' }]] : ['$a'],
    prev_events: isOld ? [['$b:a.test', { sha256: 'x' }]] : ['$b'],
    ...(isOld ? { event_id: '$e:a.test' } : {}),
    ...change,
  };
}

function parse(rules: RoomVersionRules, text: string) {
  return parsePdu(rules, text, { pushed: true });
}

function pduOf(rules: RoomVersionRules, json: JsonObject) {
  const parsed = parse(rules, JSON.stringify({ hashes: {}, signatures: {}, ...json }));
  if (!parsed.ok) throw new Error(parsed.reason);
  return parsed.pdu;
}

describe('the table of room versions', () => {
  it('has versions 1 to 12 in this order, and knows no other', () => {
    expect(ROOM_VERSIONS).toEqual(Array.from({ length: 12 }, (_, i) => String(i + 1)));
    for (const version of ['0', '13', '', '01', '1.0', 'org.matrix.msc3757.11', '__proto__', 'constructor']) {
      expect(roomVersionRules(version), version).toBeUndefined();
    }
  });

  it('has a fact for every rule', () => {
    const { version: _, redaction: _redaction, ...rules } = rulesOf(1);
    expect(Object.keys({ ...RULE_SPANS, ...RULE_VALUES }).sort()).toEqual(Object.keys(rules).sort());
  });
});

describe.each(ROOM_VERSIONS.map(Number))('room version %i', (version) => {
  const rules = rulesOf(version);

  it.each(Object.entries(RULE_SPANS))('has the rule %s where the specification does', (name, span) => {
    expect(rules[name as keyof typeof RULE_SPANS]).toBe(holds(span, version));
  });

  it.each(Object.entries(RULE_VALUES))('has the %s of the specification', (name, values) => {
    expect(rules[name as keyof typeof RULE_VALUES]).toBe(values[version - 1]);
    expect(rules.version).toBe(String(version));
  });

  it('keeps the top level of a redacted event that the specification lists', () => {
    const others = ['unsigned', 'redacts', 'age_ts', 'x', 'constructor', 'toString'];
    const event = Object.fromEntries([...Object.keys(KEPT_AT_TOP), ...others].map((name) => [name, name]));
    expect(Object.keys(redactEvent(rules.redaction, event)).sort()).toEqual(keysThat(KEPT_AT_TOP, version));
  });

  it.each(Object.entries(KEPT_IN_CONTENT))(
    'keeps the content of a redacted %s that the specification lists',
    (type, spans) => {
      const everyKey = [...new Set([...Object.values(KEPT_IN_CONTENT).flatMap(Object.keys), ...NEVER_KEPT])];
      const content = Object.fromEntries(everyKey.map((name) => [name, 1]));
      const kept = redactEvent(rules.redaction, { type, content }).content as JsonObject;
      const keepsAll = type === 'm.room.create' && holds(spans.anything as Span, version);
      const { anything: _, ...named } = spans;
      expect(Object.keys(kept).sort()).toEqual(keepsAll ? everyKey.sort() : keysThat(named, version));
    },
  );

  it('keeps signed of a third-party invite from version 11 on, and no more of it', () => {
    const invites: [unknown, unknown][] = [
      [{ signed: { token: 't' }, display_name: 'x' }, { signed: { token: 't' } }],
      [{ display_name: 'x' }, {}],
      ['x', undefined],
      [null, undefined],
    ];
    for (const [given, kept] of invites) {
      const content = { third_party_invite: given } as JsonObject;
      const redacted = redactEvent(rules.redaction, { type: 'm.room.member', content }).content as JsonObject;
      expect(redacted.third_party_invite).toEqual(holds(SIGNED_INVITE_KEPT, version) ? kept : undefined);
      expect(redactEvent(rules.redaction, { type: 'm.room.message', content }).content).toEqual({});
    }
  });

  it('gives event IDs their form', () => {
    const reference = Buffer.alloc(32, 0xfb);
    const standard = '+/v7'.repeat(10).concat('+/s');
    const id = eventIdOf(rules, reference, '$stated:a.test' as EventId);
    if (version <= 2) expect(id).toBe('$stated:a.test');
    else expect(id).toBe(`$${version === 3 ? standard : standard.replaceAll('+', '-').replaceAll('/', '_')}`);
  });

  it('wants event_id and pairs in versions 1 and 2, plain IDs after', () => {
    const isOld = version <= 2;
    const signed = hashAndSignPdu(rules, eventOf(rules), key);
    const pdu = pduOf(rules, signed.json);
    expect(pdu.authEventIds).toEqual([isOld ? '$a:a.test' : '$a']);
    expect(pdu.prevEventIds).toEqual([isOld ? '$b:a.test' : '$b']);
    expect(pdu.statedEventId).toBe(isOld ? '$e:a.test' : undefined);
    const otherForm = isOld ? ['$a:a.test'] : [['$a', { sha256: 'x' }]];
    expect(parse(rules, JSON.stringify({ ...signed.json, auth_events: otherForm }))).toMatchObject({
      code: 'bad-field',
    });
  });

  it('takes numbers that are no plain integers up to version 5 only', () => {
    const text = JSON.stringify({ ...eventOf(rules), hashes: {}, signatures: {}, x: 'NUMBER' });
    for (const number of ['1.5', '1.0', '1e3', '-0', '9007199254740993', '-9007199254740992']) {
      expect(parse(rules, text.replace('"NUMBER"', number)).ok, number).toBe(version <= 5);
    }
    for (const number of ['0', '-1', '9007199254740991', '-9007199254740991']) {
      expect(parse(rules, text.replace('"NUMBER"', number)).ok, number).toBe(true);
    }
  });

  it('asks from version 5 on for keys that were valid when the event was sent', () => {
    const { json } = hashAndSignPdu(rules, eventOf(rules), key);
    const lapsed = lookupOf([key], 1_699_999_999_999);
    const outcome = verifyPdu(rules, pduOf(rules, json), lapsed).outcome;
    expect(outcome).toBe(version >= 5 ? 'missing-keys' : 'verified');
    expect(verifyPdu(rules, pduOf(rules, json), lookupOf([key], 1_700_000_000_000)).outcome).toBe('verified');
  });

  it('asks for the signatures of the servers that the specification names', () => {
    const signersOf = (change: JsonObject) => requiredSigners(rules, pduOf(rules, eventOf(rules, change)));
    const idServer = version <= 2 ? ['c.test'] : [];
    const statedBy = version <= 2 ? { event_id: '$e:c.test' } : {};
    expect(signersOf(statedBy)).toEqual(['a.test', ...idServer]);
    const member = { type: 'm.room.member', state_key: '@x:x.test' };
    const join = { ...member, content: { membership: 'join', join_authorised_via_users_server: '@b:b.test' } };
    expect(signersOf({ ...join, ...statedBy })).toEqual(['a.test', ...idServer, ...(version >= 8 ? ['b.test'] : [])]);
    const invite = { ...member, content: { membership: 'invite', third_party_invite: {} } };
    expect(signersOf({ ...invite, ...statedBy })).toEqual(idServer);
    expect(signersOf({ ...invite, type: 'm.room.message' })).toEqual(['a.test']);
  });

  it('takes a create event without room_id in version 12 only', () => {
    const create = { type: 'm.room.create', state_key: '', room_id: undefined };
    const signed = JSON.stringify({ ...eventOf(rules, create as unknown as JsonObject), hashes: {}, signatures: {} });
    expect(parse(rules, signed).ok).toBe(version === 12);
  });
});
