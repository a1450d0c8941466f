/** A server's published keys: whose they are, until when they count, and what old ones are good for. */

import { describe, expect, it } from 'vitest';
import { benchKey } from '../../../bench/signed-room.js';
import type { KeyId, ServerName } from '../../../src/kernel/matrix/ids.js';
import type { JsonObject, JsonValue } from '../../../src/kernel/matrix/json.js';
import { parsePdu } from '../../../src/kernel/matrix/parse-pdu.js';
import { roomVersionRules } from '../../../src/kernel/matrix/room-versions.js';
import { signJson } from '../../../src/kernel/signatures/sign-json.js';
import { hashAndSignPdu } from '../../../src/kernel/signatures/sign-pdu.js';
import { verifyPdu } from '../../../src/kernel/signatures/verify-pdu.js';
import {
  checkKeyResponse,
  KEY_VALIDITY_MAX_MS,
  KEYS_PER_SERVER_MAX,
} from '../../../src/remote/keys/check-key-response.js';
import { SMALL_ORDER } from '../../vectors/ed25519-edge-cases.js';

const NOW = 1_700_000_000_000;
const current = benchKey('a.test', 'ed25519:new');
const old = { ...benchKey('b.test'), serverName: 'a.test' as ServerName, keyId: 'ed25519:old' as KeyId };
const notaryKey = benchKey('notary.test');
const base64 = (bytes: Buffer) => bytes.toString('base64').replaceAll('=', '');

function response(change: JsonObject = {}): JsonObject {
  return {
    server_name: 'a.test',
    valid_until_ts: NOW + 1000,
    verify_keys: { [current.keyId]: { key: base64(current.publicKey) } },
    old_verify_keys: { [old.keyId]: { key: base64(old.publicKey), expired_ts: NOW - 5000 } },
    ...change,
  };
}

const check = (json: JsonValue | undefined) => checkKeyResponse(json, new Set(['a.test']), undefined, NOW);

function keysOf(json: JsonValue | undefined) {
  const verdict = check(json);
  return verdict.ok ? verdict.checked.keys : verdict.reason;
}

describe('a key response', () => {
  it('gives current keys until valid_until_ts, seven days ahead at most, and old keys until expired_ts', () => {
    const keys = keysOf(signJson(response(), current));
    expect(keys).toEqual(
      new Map([
        [current.keyId, { publicKey: current.publicKey, validUntilTs: NOW + 1000, expired: false }],
        [old.keyId, { publicKey: old.publicKey, validUntilTs: NOW - 5000, expired: true }],
      ]),
    );
    for (const [stated, counted] of [
      [KEY_VALIDITY_MAX_MS, KEY_VALIDITY_MAX_MS],
      [KEY_VALIDITY_MAX_MS + 1, KEY_VALIDITY_MAX_MS],
      [-1000, -1000],
    ] as const) {
      const verdict = check(signJson(response({ valid_until_ts: NOW + stated }), current));
      expect(verdict).toMatchObject({ ok: true, checked: { row: { validUntilTs: NOW + counted } } });
    }
  });

  it('must be signed by one of the keys it lists as current', () => {
    expect(keysOf(response())).toMatch(/not signed/);
    expect(keysOf(signJson(response(), old))).toMatch(/not signed/);
    expect(keysOf(signJson(response(), { ...current, serverName: 'b.test' as ServerName }))).toMatch(/not signed/);
    expect(keysOf({ ...signJson(response(), current), valid_until_ts: NOW + 2000 })).toMatch(/not signed/);
    expect(keysOf(signJson(response({ verify_keys: {} }), current))).toMatch(/not signed/);
    const { encoding } = SMALL_ORDER[0]!;
    const weak = { 'ed25519:weak': { key: base64(Buffer.from(encoding, 'hex')) } };
    const signatures = {
      'a.test': { 'ed25519:weak': base64(Buffer.concat([Buffer.from(encoding, 'hex'), Buffer.alloc(32)])) },
    };
    expect(keysOf({ ...response({ verify_keys: weak }), signatures })).toMatch(/not signed/);
  });

  it('must be of a server that was asked about, with a time, and an object', () => {
    expect(keysOf(signJson(response({ server_name: 'b.test' }), current))).toMatch(/not asked about/);
    expect(keysOf(signJson(response({ server_name: 5 }), current))).toMatch(/not asked about/);
    for (const time of [-1, 'x', null, 2 ** 53]) {
      expect(keysOf({ ...signJson(response(), current), valid_until_ts: time }), String(time)).toMatch(
        /valid_until_ts/,
      );
    }
    for (const json of [undefined, null, [], 'x', 1]) expect(keysOf(json)).toMatch(/not an object/);
  });

  it('must bear the signature of the notary that hands it on', () => {
    const notary = {
      server: notaryKey.serverName,
      key: (keyId: KeyId) =>
        keyId === notaryKey.keyId ? { publicKey: notaryKey.publicKey, validUntilTs: NOW, expired: false } : undefined,
    };
    const through = (json: JsonObject) => checkKeyResponse(json, new Set(['a.test']), notary, NOW).ok;
    const signed = signJson(response(), current);
    expect(through(signed)).toBe(false);
    expect(through(signJson(signed, notaryKey))).toBe(true);
    expect(through(signJson(signed, { ...notaryKey, secretKey: current.secretKey }))).toBe(false);
    // A notary's word alone is nobody's.
    expect(through(signJson(response(), notaryKey))).toBe(false);
  });

  it('leaves keys out that it cannot read, and counts one listed twice as current', () => {
    const odd: JsonObject = {
      'ed25519:short': { key: 'AAAA' },
      'ed25519:none': {},
      'rsa:1': { key: base64(current.publicKey) },
      nocolon: { key: base64(current.publicKey) },
      [current.keyId]: { key: base64(current.publicKey) },
    };
    const oldToo: JsonObject = {
      [current.keyId]: { key: base64(old.publicKey), expired_ts: 1 },
      'ed25519:timeless': { key: base64(old.publicKey) },
    };
    const keys = keysOf(signJson(response({ verify_keys: odd, old_verify_keys: oldToo }), current));
    expect(typeof keys !== 'string' && [...keys.keys()]).toEqual([current.keyId]);
    expect(typeof keys !== 'string' && keys.get(current.keyId)?.expired).toBe(false);
  });

  it('is read up to a number of keys', () => {
    const many = (count: number) =>
      Object.fromEntries(
        Array.from({ length: count }, (_, i) => [`ed25519:k${i}`, { key: base64(old.publicKey), expired_ts: i }]),
      );
    const sizeOf = (count: number) => {
      const keys = keysOf(signJson(response({ old_verify_keys: many(count) }), current));
      return typeof keys === 'string' ? keys : keys.size;
    };
    expect(sizeOf(KEYS_PER_SERVER_MAX - 1)).toBe(KEYS_PER_SERVER_MAX);
    expect(sizeOf(KEYS_PER_SERVER_MAX)).toBe(KEYS_PER_SERVER_MAX);
    expect(sizeOf(KEYS_PER_SERVER_MAX * 3)).toBe(KEYS_PER_SERVER_MAX);
  });

  it('gives old keys that verify events sent before they expired, and no later ones, from room version 5 on', () => {
    const keys = keysOf(signJson(response(), current));
    if (typeof keys === 'string') throw new Error(keys);
    const outcomeAt = (version: string, originServerTs: number) => {
      const rules = roomVersionRules(version)!;
      const event = {
        type: 'm.room.message',
        room_id: '!r:a.test',
        sender: '@a:a.test',
        content: {},
        depth: 1,
        origin_server_ts: originServerTs,
        auth_events: [],
        prev_events: [],
      };
      const parsed = parsePdu(rules, JSON.stringify(hashAndSignPdu(rules, event, old).json), { pushed: true });
      if (!parsed.ok) throw new Error(parsed.reason);
      return verifyPdu(rules, parsed.pdu, (server, keyId) => (server === 'a.test' ? keys.get(keyId) : undefined))
        .outcome;
    };
    expect(outcomeAt('11', NOW - 5000)).toBe('verified');
    expect(outcomeAt('11', NOW - 4999)).toBe('missing-keys');
    expect(outcomeAt('4', NOW - 4999)).toBe('verified');
  });
});
