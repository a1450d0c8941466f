/** Signing and hashing against the specification's vectors, and what must not change a signature or an ID. */

import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { benchKey, signedRoom } from '../../../bench/signed-room.js';
import type { KeyId, ServerName } from '../../../src/kernel/matrix/ids.js';
import type { JsonObject } from '../../../src/kernel/matrix/json.js';
import { redactEvent } from '../../../src/kernel/matrix/redact.js';
import { roomVersionRules } from '../../../src/kernel/matrix/room-versions.js';
import { sign, signingKeyOfSeed, verify } from '../../../src/kernel/signatures/ed25519.js';
import { contentHashMatches, eventIdOf, pduForms, referenceHash } from '../../../src/kernel/signatures/hash-pdu.js';
import { signJson, verifyJson } from '../../../src/kernel/signatures/sign-json.js';
import { addPduSignature, hashAndSignPdu } from '../../../src/kernel/signatures/sign-pdu.js';
import { verifyInviteSignature } from '../../../src/kernel/signatures/verify-invite-signature.js';
import { EVENT_SIGNING, JSON_SIGNING, SIGNING_KEY_SEED } from '../../vectors/signing-vectors.js';

const key = signingKeyOfSeed('domain' as ServerName, 'ed25519:1' as KeyId, Buffer.from(SIGNING_KEY_SEED, 'base64'));
const v1 = roomVersionRules('1')!;
const v11 = roomVersionRules('11')!;

/** `bytes` with one bit of one byte turned over. */
function flipped(bytes: Buffer, place: number): Buffer {
  const copy = Buffer.from(bytes);
  const at = place % copy.length;
  copy[at] = (copy[at] as number) ^ (1 << (place % 8));
  return copy;
}

describe('signing', () => {
  it.each(JSON_SIGNING)('signs $name as the specification does', ({ given, signed }) => {
    expect(signJson(given, key)).toEqual(signed);
    expect(verifyJson(signed, 'domain', 'ed25519:1', key.publicKey)).toBe(true);
  });

  it.each(EVENT_SIGNING)('hashes and signs $name as the specification does', ({ given, signed }) => {
    expect(hashAndSignPdu(v1, given, key).json).toEqual(signed);
  });

  it('leaves unsigned and the signatures of others alone and does not cover them', () => {
    const signed = signJson({ a: 1, unsigned: { age: 1 }, signatures: { other: { 'ed25519:x': 'y' } } }, key);
    expect(signed).toMatchObject({ unsigned: { age: 1 }, signatures: { other: { 'ed25519:x': 'y' } } });
    expect(verifyJson({ ...signed, unsigned: { age: 2 } }, 'domain', 'ed25519:1', key.publicKey)).toBe(true);
    expect(verifyJson({ ...signed, a: 2 }, 'domain', 'ed25519:1', key.publicKey)).toBe(false);
    expect(verifyJson(signed, 'other', 'ed25519:x', key.publicKey)).toBe(false);
    expect(verifyJson(signed, 'nobody', 'ed25519:1', key.publicKey)).toBe(false);
  });

  it('fails to verify once a byte of message, signature or key is flipped', () => {
    const bytes = fc.uint8Array({ minLength: 1, maxLength: 200 });
    fc.assert(
      fc.property(bytes, fc.nat(), (content, place) => {
        const message = Buffer.from(content);
        const signature = sign(message, key);
        const text = signature.toString('base64');
        expect(verify(message, text, key.publicKey)).toBe(true);
        expect(verify(flipped(message, place), text, key.publicKey)).toBe(false);
        expect(verify(message, flipped(signature, place).toString('base64'), key.publicKey)).toBe(false);
        expect(verify(message, text, flipped(key.publicKey, place))).toBe(false);
      }),
      { numRuns: 40 },
    );
  });

  it('reads a signature in either alphabet, padded or not, and no other length', () => {
    const message = Buffer.from('x');
    const signature = sign(message, key);
    for (const text of [
      signature.toString('base64'),
      signature.toString('base64url'),
      signature.toString('base64').slice(0, 86),
    ]) {
      expect(verify(message, text, key.publicKey)).toBe(true);
    }
    for (const text of ['', 'x', signature.toString('base64').slice(0, 85), `${signature.toString('base64url')}AAAA`]) {
      expect(verify(message, text, key.publicKey)).toBe(false);
    }
  });

  it('lets the server that authorises a restricted join sign the event of another', () => {
    const [first, second] = [benchKey('a.test'), benchKey('b.test')];
    const event = hashAndSignPdu(v11, { type: 'm.room.member', content: { membership: 'join' } }, first);
    const both = addPduSignature(v11, event.json, second);
    expect(both.eventId).toBe(event.eventId);
    expect(Object.keys(both.json.signatures as JsonObject)).toEqual(['a.test', 'b.test']);
    expect(both.json.hashes).toEqual(event.json.hashes);
  });

  it('verifies the signed object of a third-party invite and takes malformed input for a false', () => {
    const signed = signJson({ mxid: '@a:a.test', token: 't' }, key) as {
      signatures: { domain: Record<string, string> };
    };
    const signature = signed.signatures.domain['ed25519:1'] as string;
    const publicKey = key.publicKey.toString('base64');
    const invite = signed as unknown as JsonObject;
    expect(verifyInviteSignature(publicKey, signature, invite)).toBe(true);
    expect(verifyInviteSignature(key.publicKey.toString('base64url'), signature, invite)).toBe(true);
    expect(verifyInviteSignature(publicKey, signature, { ...invite, token: 'u' })).toBe(false);
    expect(verifyInviteSignature('AAAA', signature, invite)).toBe(false);
    expect(verifyInviteSignature(publicKey, signature, { ...invite, x: 1.5 })).toBe(false);
  });
});

describe('hashes of an event', () => {
  const idOf = (event: JsonObject) => eventIdOf(v11, referenceHash(pduForms(v11, event).signedText), undefined);

  it('have forms of their own for the event ID in room versions 1, 3 and 4', () => {
    const reference = Buffer.alloc(32, 0xfb);
    expect(eventIdOf(v1, reference, '$x:a.test' as never)).toBe('$x:a.test');
    expect(eventIdOf(roomVersionRules('3')!, reference, undefined)).toBe(
      `$${reference.toString('base64').slice(0, 43)}`,
    );
    expect(eventIdOf(roomVersionRules('4')!, reference, undefined)).toBe(`$${reference.toString('base64url')}`);
  });

  it('match whatever the alphabet and padding of the stated hash, and nothing else', () => {
    const event = signedRoom(1, 1).events[0]!.json;
    const { contentHash } = pduForms(v11, event);
    const bytes = Buffer.from(contentHash, 'base64');
    const matches = (sha256: string) => contentHashMatches({ ...event, hashes: { sha256 } }, contentHash);
    expect([contentHash, bytes.toString('base64'), bytes.toString('base64url')].map(matches)).toEqual([
      true,
      true,
      true,
    ]);
    expect(['', contentHash.slice(1), flipped(bytes, 5).toString('base64')].map(matches)).toEqual([
      false,
      false,
      false,
    ]);
    expect(contentHashMatches({ ...event, hashes: {} }, contentHash)).toBe(false);
  });

  it('give the same event ID before and after redaction, and whatever unsigned and signatures say', () => {
    const types = fc.constantFrom(
      'm.room.member',
      'm.room.create',
      'm.room.power_levels',
      'm.room.redaction',
      'm.room.message',
    );
    const keys = fc.constantFrom('membership', 'users', 'invite', 'redacts', 'body', 'third_party_invite');
    const values = fc.oneof(
      fc.maxSafeInteger(),
      fc.string({ unit: 'binary' }),
      fc.dictionary(fc.constantFrom('signed', 'x'), fc.nat()),
    );
    fc.assert(
      fc.property(types, fc.dictionary(keys, values), (type, content) => {
        const event = { ...signedRoom(1, 1).events[0]!.json, type, content: content as JsonObject, extra: 1 };
        const id = idOf(event);
        expect(idOf(redactEvent(v11.redaction, event))).toBe(id);
        expect(idOf({ ...event, unsigned: { age: 1 }, signatures: {} })).toBe(id);
        expect(idOf({ ...event, depth: 77 })).not.toBe(id);
      }),
    );
  });
});
