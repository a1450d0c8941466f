import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setImmediate as nextTurn } from 'node:timers/promises';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { KeyId, ServerName } from '../../src/kernel/matrix/ids.js';
import type { JsonObject } from '../../src/kernel/matrix/json.js';
import { signJson } from '../../src/kernel/signatures/sign-json.js';
import type { KeyNeed } from '../../src/kernel/signatures/verify-pdu.js';
import { createFederationClient, type FederationClient } from '../../src/remote/federation-client.js';
import { createKeyRing, type KeyRing, SERVERS_PER_NOTARY_QUERY_MAX } from '../../src/remote/key-ring.js';
import { KEY_VALIDITY_MAX_MS } from '../../src/remote/keys/check-key-response.js';
import { openStore, type Store } from '../../src/store/open-store.js';
import { keyResponse } from '../../src/store/server-keys.js';
import {
  answerJson,
  type FederationStub,
  keyAnswer,
  startFederationStub,
  testAuthority,
  testKey,
} from '../support/federation-stub.js';

const DAY = 24 * 60 * 60 * 1000;
const NOW = 1_700_000_000_000;
const OWN = testKey('hs1');
const NOTARY = testKey('notary.k.test');
const KEY_A = 'ed25519:a' as KeyId;

let dir: string;
let store: Store;
let client: FederationClient;
/** Answers for every name: as an origin by its Host header, as the notary for /query. */
let network: FederationStub;
let now: number;
/** What each origin publishes; absent: 404. */
let origins: Map<string, JsonObject>;
/** What the notary says about each server (without its signature); absent: nothing. */
let atNotary: Map<string, JsonObject[]>;
let notarySigns: (answer: JsonObject) => JsonObject;

const name = (text: string): ServerName => text as ServerName;
const need = (server: string, keyId: KeyId = KEY_A, minimumValidUntilTs = 0): KeyNeed => ({
  server: name(server),
  keyId,
  minimumValidUntilTs,
});
const ringWith = (notaries: readonly string[] = ['notary.k.test']): KeyRing =>
  createKeyRing({ store, client, notaries: notaries.map(name), own: OWN, clock: () => now, random: () => 0.5 });
const publish = (server: string, validUntilTs = NOW + DAY, extra: JsonObject = {}): void => {
  origins.set(server, keyAnswer(testKey(server), validUntilTs, extra));
};
const give = (server: string, answer = keyAnswer(testKey(server), NOW + DAY)): void => {
  atNotary.set(server, [answer]);
};
const asked = (server: string): number =>
  network.requests.filter(({ headers, uri }) => headers.host === server && uri === '/_matrix/key/v2/server').length;
const queries = (): Record<string, Record<string, JsonObject>>[] =>
  network.requests.filter(({ uri }) => uri === '/_matrix/key/v2/query').map(({ body }) => JSON.parse(body).server_keys);

beforeEach(async () => {
  now = NOW;
  origins = new Map([['notary.k.test', keyAnswer(NOTARY, NOW + DAY)]]);
  atNotary = new Map();
  notarySigns = (answer) => signJson(answer, NOTARY);
  dir = mkdtempSync(join(tmpdir(), 'joinery-keys-'));
  store = openStore(dir, 'hs1');
  network = await startFederationStub(['*.k.test'], (request, response) => {
    if (request.uri === '/_matrix/key/v2/query') {
      const wanted = JSON.parse(request.body).server_keys as Record<string, JsonObject>;
      const found = Object.keys(wanted).flatMap((server) => atNotary.get(server) ?? []);
      answerJson(response, { server_keys: found.map((answer) => notarySigns(answer)) });
      return;
    }
    const answer = origins.get(request.headers.host ?? '');
    if (answer === undefined) answerJson(response, { errcode: 'M_NOT_FOUND', error: 'no' }, 404);
    else answerJson(response, answer);
  });
  client = createFederationClient({
    signingKey: OWN,
    hosts: { '*.k.test': network.address },
    ca: (await testAuthority()).cert,
    verifyCertificates: true,
    allowRanges: ['127.0.0.0/8'],
    clock: () => now,
  });
});

afterEach(async () => {
  await client.close();
  await network.close();
  await store.close();
  rmSync(dir, { recursive: true });
});

describe('fetchFromOrigins', () => {
  it('asks the servers themselves and no notary, and not again those that did not answer lately', async () => {
    publish('a.k.test');
    give('a.k.test');
    const ring = ringWith();
    await ring.fetchFromOrigins(['a.k.test', 'b.k.test', 'hs1'].map(name));
    // The first fetch ends in the turn in which its callers go on.
    await nextTurn();
    await ring.fetchFromOrigins(['a.k.test', 'b.k.test'].map(name));
    expect([asked('a.k.test'), asked('b.k.test')]).toEqual([2, 1]);
    expect(queries()).toEqual([]);
    expect(ring.lookup(name('a.k.test'), KEY_A)?.validUntilTs).toBe(NOW + DAY);
  });
});

describe('ensureKeys', () => {
  it('asks the notaries first and stores what they have, with the response', async () => {
    give('a.k.test');
    const ring = ringWith();
    await ring.ensureKeys([need('a.k.test', KEY_A, 5)]);
    const key = ring.lookup(name('a.k.test'), KEY_A);
    expect(key).toEqual({ publicKey: testKey('a.k.test').publicKey, validUntilTs: NOW + DAY, expired: false });
    expect(queries()).toEqual([{ 'a.k.test': { 'ed25519:a': { minimum_valid_until_ts: 5 } } }]);
    expect(asked('a.k.test')).toBe(0);
    expect(keyResponse(store, name('a.k.test'))).toMatchObject({ fetchedTs: NOW, validUntilTs: NOW + DAY });
  });

  it('asks the origin for what no notary has, and nobody for what is stored', async () => {
    publish('a.k.test');
    const ring = ringWith();
    await ring.ensureKeys([need('a.k.test')]);
    expect(asked('a.k.test')).toBe(1);
    const before = network.requests.length;
    await ring.ensureKeys([need('a.k.test'), need('a.k.test', KEY_A, NOW + DAY), need('hs1')]);
    expect(network.requests.length).toBe(before);
  });

  it('fetches again when the stored key is not valid for long enough, and never for what cannot be', async () => {
    publish('a.k.test', NOW + 1000);
    const ring = ringWith([]);
    await ring.ensureKeys([need('a.k.test')]);
    publish('a.k.test', NOW + DAY);
    await ring.ensureKeys([need('a.k.test', KEY_A, NOW + 5000)]);
    expect(ring.lookup(name('a.k.test'), KEY_A)?.validUntilTs).toBe(NOW + DAY);
    await ring.ensureKeys([need('a.k.test', KEY_A, NOW + KEY_VALIDITY_MAX_MS + 1)]);
    expect(asked('a.k.test')).toBe(2);
  });

  it('counts a key at most seven days from when it was fetched', async () => {
    publish('a.k.test', NOW + 365 * DAY);
    const ring = ringWith([]);
    await ring.ensureKeys([need('a.k.test')]);
    expect(ring.lookup(name('a.k.test'), KEY_A)?.validUntilTs).toBe(NOW + KEY_VALIDITY_MAX_MS);
  });

  it('stores old keys as expired, good up to expired_ts', async () => {
    const old = testKey('a.k.test', 'ed25519:old').publicKey.toString('base64');
    publish('a.k.test', NOW + DAY, { old_verify_keys: { 'ed25519:old': { key: old, expired_ts: 77 } } });
    const ring = ringWith([]);
    await ring.ensureKeys([need('a.k.test', 'ed25519:old' as KeyId, 70)]);
    const key = ring.lookup(name('a.k.test'), 'ed25519:old' as KeyId);
    expect(key).toMatchObject({ validUntilTs: 77, expired: true });
    expect(await ring.keyForRequest(name('a.k.test'), 'ed25519:old' as KeyId)).toBeUndefined();
    expect(asked('a.k.test')).toBe(1);
  });

  it('does not let an older answer take away what a newer one said', async () => {
    publish('a.k.test', NOW + 2 * DAY);
    const ring = ringWith();
    await ring.ensureKeys([need('a.k.test')]);
    give('a.k.test', keyAnswer(testKey('a.k.test'), NOW - DAY));
    now = NOW + 3 * DAY;
    origins.set('notary.k.test', keyAnswer(NOTARY, now + DAY));
    await ring.ensureKeys([need('a.k.test', KEY_A, now)]);
    expect(queries().length).toBe(2);
    expect(ring.lookup(name('a.k.test'), KEY_A)?.validUntilTs).toBe(NOW + 2 * DAY);
  });

  it('is one fetch for concurrent callers, and one attempt for a dead server until its back-off ends', async () => {
    publish('a.k.test');
    const ring = ringWith([]);
    const needs = [need('a.k.test'), need('dead.k.test'), need('dead.k.test', 'ed25519:b' as KeyId)];
    await Promise.all([ring.ensureKeys(needs), ring.ensureKeys(needs), ring.ensureKeys([need('a.k.test')])]);
    await ring.ensureKeys(needs);
    expect([asked('a.k.test'), asked('dead.k.test')]).toEqual([1, 1]);
    now += 3 * 60_000;
    publish('dead.k.test');
    await ring.ensureKeys(needs);
    expect(asked('dead.k.test')).toBe(2);
    expect(ring.lookup(name('dead.k.test'), KEY_A)).toBeDefined();
  });

  it('asks a dead server again when its failures are forgotten, and a notary too', async () => {
    const ring = ringWith();
    await ring.ensureKeys([need('dead.k.test')]);
    await ring.ensureKeys([need('dead.k.test')]);
    expect([asked('dead.k.test'), queries().length]).toEqual([1, 1]);
    publish('dead.k.test');
    ring.forgetFailures([name('dead.k.test')]);
    await ring.ensureKeys([need('dead.k.test')]);
    expect(asked('dead.k.test')).toBe(2);
    expect(ring.lookup(name('dead.k.test'), KEY_A)).toBeDefined();
  });

  it('asks notaries in batches of at most 500 servers and keeps the thread free', async () => {
    const servers = Array.from({ length: SERVERS_PER_NOTARY_QUERY_MAX + 101 }, (_, i) => `s${i}.k.test`);
    for (const server of servers) give(server);
    const ring = ringWith();
    let turns = 0;
    let working = true;
    const count = (): void => {
      turns += 1;
      if (working) setImmediate(count);
    };
    count();
    await ring.ensureKeys(servers.map((server) => need(server)));
    working = false;
    expect(
      queries()
        .map((query) => Object.keys(query).length)
        .sort((a, b) => b - a),
    ).toEqual([500, 101]);
    expect(servers.every((server) => ring.lookup(name(server), KEY_A) !== undefined)).toBe(true);
    expect(turns).toBeGreaterThan(servers.length / 20);
  });

  it('gives up on origins at the deadline', async () => {
    network.handler = () => undefined;
    const ring = createKeyRing({
      store,
      client,
      notaries: [],
      own: OWN,
      clock: () => now,
      random: () => 0.5,
      originsDeadlineMs: 50,
    });
    const servers = Array.from({ length: 30 }, (_, i) => need(`s${i}.k.test`));
    await ring.ensureKeys(servers);
    expect(ring.lookup(name('s0.k.test'), KEY_A)).toBeUndefined();
  });

  it('ends for a caller who aborts, and goes on for the others', async () => {
    publish('a.k.test');
    const ring = ringWith([]);
    const controller = new AbortController();
    const aborted = ring.ensureKeys([need('a.k.test')], controller.signal);
    const other = ring.ensureKeys([need('a.k.test')]);
    controller.abort(new Error('hung up'));
    await expect(aborted).rejects.toThrow('hung up');
    await other;
    expect(ring.lookup(name('a.k.test'), KEY_A)).toBeDefined();
    expect(asked('a.k.test')).toBe(1);
  });
});

describe('a key response is refused', () => {
  const mallory = testKey('a.k.test', 'ed25519:m');
  const withMallory = { [mallory.keyId]: { key: mallory.publicKey.toString('base64') } };
  const ofA = keyAnswer(testKey('a.k.test'), NOW + DAY);

  it.each<[string, JsonObject]>([
    ['when it is of another server', keyAnswer(testKey('b.k.test'), NOW + DAY)],
    ['when it bears no signature', { ...ofA, signatures: {} }],
    [
      'when a key was added after it was signed',
      { ...ofA, verify_keys: { ...(ofA.verify_keys as JsonObject), ...withMallory } },
    ],
    ['when its validity was changed after it was signed', { ...ofA, valid_until_ts: NOW + 2 * DAY }],
    [
      'when it is signed only by a key that it lists as old',
      (() => {
        const key = testKey('a.k.test');
        const old = { [key.keyId]: { key: key.publicKey.toString('base64'), expired_ts: 5 } };
        return keyAnswer(key, NOW + DAY, { verify_keys: {}, old_verify_keys: old });
      })(),
    ],
    ['without valid_until_ts', signJson({ server_name: 'a.k.test', verify_keys: {} }, testKey('a.k.test'))],
    ['with numbers that have no canonical form', { ...ofA, extra: 1.5 }],
  ])('%s', async (_what, answer) => {
    origins.set('a.k.test', answer);
    // What cannot be signed, no notary can hand on.
    if (answer.extra === undefined) atNotary.set('a.k.test', [answer]);
    const ring = ringWith();
    await ring.ensureKeys([need('a.k.test'), need('a.k.test', mallory.keyId)]);
    expect(ring.lookup(name('a.k.test'), KEY_A)).toBeUndefined();
    expect(ring.lookup(name('a.k.test'), mallory.keyId)).toBeUndefined();
    expect(ring.lookup(name('b.k.test'), KEY_A)).toBeUndefined();
  });

  it('through a notary, when the notary did not sign it or another key did', async () => {
    for (const [server, signs] of [
      ['a.k.test', (answer: JsonObject) => answer],
      ['b.k.test', (answer: JsonObject) => signJson(answer, { ...testKey('evil'), serverName: NOTARY.serverName })],
    ] as const) {
      give(server);
      notarySigns = signs;
      const ring = ringWith();
      await ring.ensureKeys([need(server)]);
      expect(ring.lookup(name(server), KEY_A)).toBeUndefined();
    }
  });

  it('one forged answer of a notary does not spoil the others', async () => {
    atNotary.set('a.k.test', [{ ...ofA, valid_until_ts: 1 }, ofA]);
    give('c.k.test');
    const ring = ringWith();
    await ring.ensureKeys([need('a.k.test'), need('c.k.test')]);
    expect(ring.lookup(name('a.k.test'), KEY_A)).toBeDefined();
    expect(ring.lookup(name('c.k.test'), KEY_A)).toBeDefined();
  });
});

describe('prefetch', () => {
  it('asks the notaries for all keys, servers with a valid response excepted, and no origin', async () => {
    give('a.k.test');
    publish('b.k.test');
    const ring = ringWith();
    await ring.prefetch(['a.k.test', 'b.k.test', 'hs1'].map(name));
    expect(queries()).toEqual([{ 'a.k.test': {}, 'b.k.test': {} }]);
    expect(ring.lookup(name('a.k.test'), KEY_A)).toBeDefined();
    expect(asked('b.k.test')).toBe(0);
    await ring.prefetch(['a.k.test', 'b.k.test'].map(name));
    expect(queries().length).toBe(1);
    await ring.ensureKeys([need('b.k.test')]);
    expect(ring.lookup(name('b.k.test'), KEY_A)).toBeDefined();
  });

  it('while it runs, ensureKeys of the same server waits for it and then asks the origin', async () => {
    publish('b.k.test');
    const ring = ringWith();
    await Promise.all([ring.prefetch([name('b.k.test')]), ring.ensureKeys([need('b.k.test')])]);
    expect(ring.lookup(name('b.k.test'), KEY_A)).toBeDefined();
  });
});

describe('keys for requests', () => {
  it('are fetched when missing or lapsed, and never believed beyond their validity', async () => {
    publish('a.k.test', NOW + 1000);
    const ring = ringWith([]);
    expect(await ring.keyForRequest(name('a.k.test'), KEY_A)).toMatchObject({ expired: false });
    now = NOW + 10 * 60_000;
    expect(await ring.keyForRequest(name('a.k.test'), KEY_A)).toBeUndefined();
    now += 10 * 60_000;
    publish('a.k.test', now + DAY);
    expect(await ring.keyForRequest(name('a.k.test'), KEY_A)).toMatchObject({ validUntilTs: now + DAY });
  });

  it('our own key is known without asking', () => {
    const ring = ringWith([]);
    expect(ring.lookup(OWN.serverName, OWN.keyId)?.publicKey).toEqual(OWN.publicKey);
    expect(ring.lookup(OWN.serverName, 'ed25519:x' as KeyId)).toBeUndefined();
  });
});
