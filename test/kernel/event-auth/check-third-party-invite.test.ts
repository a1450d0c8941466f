/** Rule 5.4.1: invites that redeem an m.room.third_party_invite. */

import { describe, expect, it } from 'vitest';
import { checkAuthRules } from '../../../src/kernel/event-auth/check-auth-rules.js';
import {
  INVITE_SIGNATURE_TRIES_MAX,
  type VerifyInviteSignature,
} from '../../../src/kernel/event-auth/member/check-third-party-invite.js';
import type { JsonObject, JsonValue } from '../../../src/kernel/matrix/json.js';
import { ALICE, BOB, MALLORY, RoomBuilder } from '../../rooms/room-builder.js';

const SIGNED = { mxid: MALLORY, token: 'T', signatures: { 'id.test': { 'ed25519:0': 'good' } } };
/** Stands for ed25519: the key `key` made the signature `good`. */
const verify: VerifyInviteSignature = (publicKey, signature) => publicKey === 'key' && signature === 'good';

describe.each(['1', '6', '11', '12'])('an invite with third_party_invite in version %s', (version) => {
  const room = new RoomBuilder(version);
  const joined = room.startWith([BOB]);
  const offer = { type: 'm.room.third_party_invite', stateKey: 'T', sender: ALICE };
  const base = room.send(joined, { ...offer, label: 'offer', content: { public_key: 'key' } });

  const verdictOf = (
    invite: JsonValue,
    { fork = base, sender = ALICE, check = verify as VerifyInviteSignature | undefined } = {},
  ): string => {
    const content: JsonObject = { membership: 'invite', third_party_invite: invite };
    const event = room.make(fork, { label: 'invite', sender, type: 'm.room.member', stateKey: MALLORY, content });
    const verdict = checkAuthRules(room.rules, event, room.lookupOn(fork), { verifyInviteSignature: check });
    return verdict.allowed ? 'allowed' : verdict.code;
  };

  it('7. is allowed with a signature of the public key', () => {
    expect(verdictOf({ signed: SIGNED })).toBe('allowed');
  });
  it('7. is allowed with a signature of one of the public keys', () => {
    const content = { public_key: 'other', public_keys: [{ public_key: 'third' }, 5, { public_key: 'key' }] };
    expect(verdictOf({ signed: SIGNED }, { fork: room.send(joined, { ...offer, label: 'keys', content }) })).toBe(
      'allowed',
    );
  });
  it('1. is refused for a banned user', () => {
    const fork = room.member(base, 'ban', ALICE, MALLORY, 'ban');
    expect(verdictOf({ signed: SIGNED }, { fork })).toBe('third-party-invite-target-banned');
  });
  it('2. is refused without signed', () => {
    for (const invite of [{}, null, 5, 'x', []] as JsonValue[]) {
      expect(verdictOf(invite)).toBe('third-party-invite-no-signed');
    }
  });
  it('3. is refused without mxid or token in signed', () => {
    for (const signed of [null, 5, {}, { mxid: MALLORY }, { token: 'T' }, { mxid: 5, token: 'T' }] as JsonValue[]) {
      expect(verdictOf({ signed })).toBe('third-party-invite-signed-malformed');
    }
  });
  it('4. is refused where mxid is not the state_key', () => {
    expect(verdictOf({ signed: { ...SIGNED, mxid: BOB } })).toBe('third-party-invite-mxid-mismatch');
  });
  it('5. is refused without the m.room.third_party_invite of the token', () => {
    expect(verdictOf({ signed: { ...SIGNED, token: 'U' } })).toBe('third-party-invite-unknown-token');
  });
  it('6. is refused from another sender than that of m.room.third_party_invite', () => {
    expect(verdictOf({ signed: SIGNED }, { sender: BOB })).toBe('third-party-invite-sender-mismatch');
  });
  it('8. is refused without a signature that matches', () => {
    const wrong: JsonValue[] = [null, {}, { 'id.test': 5 }, { 'id.test': { 'ed25519:0': 5 } }];
    for (const signatures of [...wrong, { 'id.test': { 'ed25519:0': 'bad' } }, { 'id.test': { 'rsa:0': 'good' } }]) {
      expect(verdictOf({ signed: { ...SIGNED, signatures } })).toBe('third-party-invite-bad-signature');
    }
  });
  it('is refused where signatures cannot be verified', () => {
    const event = room.make(base, {
      label: 'invite',
      sender: ALICE,
      type: 'm.room.member',
      stateKey: MALLORY,
      content: { membership: 'invite', third_party_invite: { signed: SIGNED } },
    });
    const verdict = checkAuthRules(room.rules, event, room.lookupOn(base));
    expect(verdict).toMatchObject({ allowed: false, code: 'third-party-invite-unverifiable' });
  });
  it('is refused with more signatures and keys than are tried', () => {
    const ids = Array.from({ length: INVITE_SIGNATURE_TRIES_MAX }, (_, index) => [`ed25519:${index}`, `bad${index}`]);
    const signatures = (count: number) => ({ 'id.test': Object.fromEntries(ids.slice(0, count)) });
    const invite = (count: number) => ({
      signed: { ...SIGNED, signatures: { ...signatures(count), x: { 'ed25519:0': 'good' } } },
    });
    expect(verdictOf(invite(INVITE_SIGNATURE_TRIES_MAX - 1))).toBe('allowed');
    expect(verdictOf(invite(INVITE_SIGNATURE_TRIES_MAX))).toBe('third-party-invite-too-many-signatures');
  });
});
