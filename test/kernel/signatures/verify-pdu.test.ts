/** The outcomes of verifying one event, by what is wrong with it. */

import { describe, expect, it } from 'vitest';
import { benchKey, lookupOf } from '../../../bench/signed-room.js';
import type { JsonObject } from '../../../src/kernel/matrix/json.js';
import type { Pdu } from '../../../src/kernel/matrix/parse-pdu.js';
import { parsePdu } from '../../../src/kernel/matrix/parse-pdu.js';
import type { RoomVersionRules } from '../../../src/kernel/matrix/room-versions.js';
import { roomVersionRules } from '../../../src/kernel/matrix/room-versions.js';
import { addPduSignature, hashAndSignPdu } from '../../../src/kernel/signatures/sign-pdu.js';
import type { KeyLookup, PduVerification } from '../../../src/kernel/signatures/verify-pdu.js';
import { requiredSigners, verifyPdu } from '../../../src/kernel/signatures/verify-pdu.js';

const TS = 1_700_000_000_000;
const alice = benchKey('a.test');
const bob = benchKey('b.test');
const keys = lookupOf([alice, bob]);

const rulesOf = (version: string): RoomVersionRules => roomVersionRules(version)!;

function event(change: JsonObject = {}, version = '11'): JsonObject {
  const rules = rulesOf(version);
  return {
    type: 'm.room.message',
    room_id: '!r:a.test',
    sender: '@a:a.test',
    content: { body: 'x' },
    depth: 1,
    origin_server_ts: TS,
    auth_events: [],
    prev_events: [],
    ...(rules.eventIdForm === 'domain' ? { event_id: '$e:a.test' } : {}),
    ...change,
  };
}

function pduOf(json: JsonObject, version = '11'): Pdu {
  const parsed = parsePdu(rulesOf(version), JSON.stringify(json), { pushed: true });
  if (!parsed.ok) throw new Error(parsed.reason);
  return parsed.pdu;
}

function verdict(json: JsonObject, lookup: KeyLookup = keys, version = '11'): PduVerification {
  return verifyPdu(rulesOf(version), pduOf(json, version), lookup);
}

const signed = (json: JsonObject, version = '11', key = alice) => hashAndSignPdu(rulesOf(version), json, key);

describe('verifying a PDU', () => {
  it.each(['1', '2', '3', '4', '5', '9', '11', '12'])(
    'accepts a good event of room version %s and names it',
    (version) => {
      const { eventId, json } = signed(event({}, version), version);
      expect(verdict(json, keys, version)).toMatchObject({ outcome: 'verified', eventId, redacted: false });
    },
  );

  it('drops an event whose signature is not that of the event', () => {
    const { json } = signed(event());
    expect(verdict({ ...json, depth: 2 })).toMatchObject({ outcome: 'dropped', code: 'bad-signature' });
    expect(verdict({ ...json, signatures: { 'a.test': { [alice.keyId]: 'AAAA' } } })).toMatchObject({
      code: 'bad-signature',
    });
    const other = lookupOf([{ ...bob, serverName: alice.serverName }]);
    expect(verdict(json, other)).toMatchObject({ code: 'bad-signature' });
  });

  it('drops an event without a signature of the server of its sender', () => {
    const { json } = signed(event(), '11', bob);
    expect(verdict(json)).toMatchObject({ outcome: 'dropped', code: 'no-signature' });
    expect(verdict({ ...json, signatures: { 'a.test': {} } })).toMatchObject({ code: 'no-signature' });
    expect(verdict({ ...json, signatures: { 'a.test': { 'rsa:1': 'x', 'ed25519:1': 5 } } })).toMatchObject({
      code: 'no-signature',
    });
  });

  it('names the key that is missing', () => {
    expect(verdict(signed(event()).json, () => undefined)).toMatchObject({
      outcome: 'missing-keys',
      needs: [{ server: 'a.test', keyId: alice.keyId, minimumValidUntilTs: TS }],
    });
  });

  it('wants every signature under a known key of a required server to be good, and skips those under unknown keys', () => {
    const renewed = benchKey('a.test', 'ed25519:new');
    const twice = addPduSignature(rulesOf('11'), signed(event()).json, renewed).json;
    const forged = addPduSignature(rulesOf('11'), signed(event()).json, { ...renewed, secretKey: bob.secretKey }).json;
    expect(verdict(twice, lookupOf([alice, renewed]))).toMatchObject({ outcome: 'verified' });
    expect(verdict(twice, lookupOf([renewed]))).toMatchObject({ outcome: 'verified' });
    expect(verdict(forged, lookupOf([alice, renewed]))).toMatchObject({ outcome: 'dropped', code: 'bad-signature' });
    expect(verdict(forged, lookupOf([renewed]))).toMatchObject({ outcome: 'dropped', code: 'bad-signature' });
    expect(verdict(forged, lookupOf([alice]))).toMatchObject({ outcome: 'verified' });
  });

  it('looks at no signature of a server that need not sign', () => {
    const json = signed(event()).json;
    const signatures = { ...(json.signatures as JsonObject), 'b.test': { [bob.keyId]: 'A'.repeat(86) } };
    expect(verdict({ ...json, signatures })).toMatchObject({ outcome: 'verified' });
    expect(verdict({ ...json, signatures: { ...signatures, 'c.test': { 'ed25519:x': 5 } } })).toMatchObject({
      outcome: 'verified',
    });
  });

  it("takes a policy server's signature for none of the server's own", () => {
    const policy = benchKey('a.test', 'ed25519:policy_server');
    const both = addPduSignature(rulesOf('11'), signed(event()).json, policy).json;
    expect(verdict(both)).toMatchObject({ outcome: 'verified' });
    expect(verdict(signed(event(), '11', policy).json)).toMatchObject({ outcome: 'dropped', code: 'no-signature' });
  });

  it('wants a key that was valid when the event was sent from room version 5 on', () => {
    const lapsed = lookupOf([alice], TS - 1);
    const lasting = lookupOf([alice], TS);
    expect(verdict(signed(event(), '4').json, lapsed, '4')).toMatchObject({ outcome: 'verified' });
    expect(verdict(signed(event(), '5').json, lapsed, '5')).toMatchObject({
      outcome: 'missing-keys',
      needs: [{ minimumValidUntilTs: TS }],
    });
    expect(verdict(signed(event(), '5').json, lasting, '5')).toMatchObject({ outcome: 'verified' });
  });

  it('believes only the redacted form where the content does not match its hash', () => {
    const { json, eventId } = signed(event());
    expect(verdict({ ...json, content: { body: 'forged' } })).toMatchObject({
      outcome: 'verified',
      eventId,
      redacted: true,
    });
    expect(verdict({ ...json, extra: 1 })).toMatchObject({ outcome: 'verified', eventId, redacted: true });
  });

  it('wants the signature of the server that authorised a restricted join', () => {
    const join = event({
      type: 'm.room.member',
      state_key: '@a:a.test',
      content: { membership: 'join', join_authorised_via_users_server: '@b:b.test' },
    });
    const { json } = signed(join);
    expect(verdict(json)).toMatchObject({ outcome: 'dropped', code: 'no-signature' });
    expect(verdict(addPduSignature(rulesOf('11'), json, bob).json)).toMatchObject({ outcome: 'verified' });
    expect(verdict(signed(join, '7').json, keys, '7')).toMatchObject({ outcome: 'verified' });
  });

  it('drops a join whose authorising user is no user ID, where there are restricted joins', () => {
    const content = { membership: 'join', join_authorised_via_users_server: 'b.test' };
    const join = event({ type: 'm.room.member', state_key: '@a:a.test', content });
    expect(verdict(signed(join).json)).toMatchObject({ outcome: 'dropped', code: 'no-signature' });
    expect(verdict(signed(join, '7').json, keys, '7')).toMatchObject({ outcome: 'verified' });
    const leave = event({ ...join, content: { ...content, membership: 'leave' } });
    expect(verdict(signed(leave).json)).toMatchObject({ outcome: 'verified' });
  });

  it('needs the signature of the sender on an invite whose third-party invite is lost with its content hash', () => {
    const invite = event({ type: 'm.room.member', state_key: '@b:b.test', content: { membership: 'invite' } }, '10');
    const thirdParty = { membership: 'invite', third_party_invite: { signed: {} } };
    const forged = { ...signed(invite, '10', bob).json, content: thirdParty };
    expect(verdict(forged, keys, '10')).toMatchObject({ outcome: 'dropped', code: 'no-signature' });
    // From version 11 on redaction keeps it, and the auth rules will ask for its own signature.
    expect(verdict({ ...signed(invite, '11', bob).json, content: thirdParty })).toMatchObject({ redacted: true });
  });

  it('needs no signature of the sender on an invite from a third-party invite', () => {
    const invite = event({
      type: 'm.room.member',
      state_key: '@b:b.test',
      content: { membership: 'invite', third_party_invite: { signed: {} } },
    });
    expect(requiredSigners(rulesOf('11'), pduOf(signed(invite, '11', bob).json))).toEqual([]);
    expect(verdict(signed(invite, '11', bob).json)).toMatchObject({ outcome: 'verified' });
    const plain = event({ ...invite, content: { membership: 'invite' } });
    expect(verdict(signed(plain, '11', bob).json)).toMatchObject({ code: 'no-signature' });
  });

  it('wants the signature of the server in the event ID too in room versions 1 and 2', () => {
    const { json } = signed(event({ event_id: '$e:b.test' }, '1'), '1');
    expect(verdict(json, keys, '1')).toMatchObject({ outcome: 'dropped', code: 'no-signature' });
    expect(verdict(addPduSignature(rulesOf('1'), json, bob).json, keys, '1')).toMatchObject({
      outcome: 'verified',
      eventId: '$e:b.test',
    });
  });

  it('drops an event that has no canonical form', () => {
    const { json } = signed(event());
    const text = JSON.stringify({ ...json, content: { body: 'x' } }).replace('"x"', '"\ud800"');
    const parsed = parsePdu(rulesOf('11'), text, { pushed: true });
    expect(parsed.ok && verifyPdu(rulesOf('11'), parsed.pdu, keys)).toMatchObject({
      outcome: 'dropped',
      code: 'no-canonical-form',
      eventId: undefined,
    });
  });
});
