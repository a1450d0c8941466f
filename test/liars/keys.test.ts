/** Liars at /key/v2/server, and notaries that lie at /key/v2/query: no key is believed, nobody else waits, the room completes. */

import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import type { KeyId, ServerName } from '../../src/kernel/matrix/ids.js';
import type { JsonObject } from '../../src/kernel/matrix/json.js';
import { signJson } from '../../src/kernel/signatures/sign-json.js';
import type { KeyNeed } from '../../src/kernel/signatures/verify-pdu.js';
import type { KeyRing } from '../../src/remote/key-ring.js';
import { createKeyRing } from '../../src/remote/key-ring.js';
import { KEY_RESPONSE_BYTES_MAX, NOTARY_ANSWER_BYTES_MAX } from '../../src/remote/keys/fetch-keys.js';
import { keyAnswer, testKey } from '../support/federation-stub.js';
import type { Act, ScriptedResident } from '../support/scripted-resident.js';
import {
  answers,
  answersJson,
  closesInTheMiddle,
  drips,
  gzipBomb,
  labelled,
  neverEnds,
  stallsInTheMiddle,
  startScriptedResident,
  staysSilent,
} from '../support/scripted-resident.js';
import { ROOM_NOW, ScriptedRoom } from '../support/scripted-room.js';
import { bounded, LoopbackJoiner } from './loopback-joiner.js';

const DAY_MS = 24 * 60 * 60 * 1000;
const PATIENCE_MS = 60;
/** Long enough for all who answer, whatever the machine does; those who do not have less. */
const KEY_DEADLINE_MS = 10_000;
const KEY_A = 'ed25519:a' as KeyId;
const NOTARY = testKey('notary.keys.test');

let resident: ScriptedResident;
let joiner: LoopbackJoiner;
let warnings: JsonObject[];
/** What each server does when it is asked for its keys. */
const acts = new Map<string, Act>();
beforeAll(async () => {
  resident = await startScriptedResident(['hs1', 'hs3', '*.keys.test']);
  resident.script = ({ server, endpoint }) => (endpoint === 'key' ? acts.get(server) : undefined);
  const { address } = resident.stub;
  const hosts = { hs1: address, hs3: address, '*.keys.test': address };
  joiner = await LoopbackJoiner.start(resident, { hosts, patienceMs: PATIENCE_MS, keyDeadlineMs: KEY_DEADLINE_MS });
});
afterAll(async () => {
  await joiner.close();
  await resident.close();
});
beforeEach(() => {
  warnings = [];
});

let servers = 0;
/** A server that has not been asked for anything. */
const freshServer = (): string => `server${servers++}.keys.test`;

/** One that does so when it is asked for its keys; one that gives no answer to refuse is not waited for long. */
function freshLiar(act: (server: string) => Act, reason: RegExp | undefined): string {
  const liar = freshServer();
  if (reason === undefined) joiner.slow.add(liar);
  acts.set(liar, act(liar));
  return liar;
}

const need = (server: string, minimumValidUntilTs = ROOM_NOW): KeyNeed => ({
  server: server as ServerName,
  keyId: KEY_A,
  minimumValidUntilTs,
});

function ringWith(...notaries: readonly string[]): KeyRing {
  const { store, client, signingKey: own, clock } = joiner.server;
  const log = { info: () => undefined, warn: (warning: JsonObject) => warnings.push(warning) };
  const ring = { store, client, notaries: notaries as ServerName[], own, clock, random: () => 0.5, log };
  return createKeyRing({ ...ring, originsDeadlineMs: KEY_DEADLINE_MS });
}

const timesAsked = (server: string, path: string) =>
  resident.stub.requests.filter(({ headers, uri }) => headers.host === server && uri === path).length;

const tampered = (answer: JsonObject): JsonObject => ({ ...answer, valid_until_ts: ROOM_NOW + 2 * DAY_MS });
const good = (server: string, validUntilTs = ROOM_NOW + DAY_MS) => keyAnswer(testKey(server), validUntilTs);
const pad = (bytes: number) => ({ extra: 'x'.repeat(bytes) });

/** What is wrong with an answer to `GET /_matrix/key/v2/server`, and what the log says where it is an answer at all. */
const BAD_KEYS: readonly (readonly [what: string, act: (server: string) => Act, reason: RegExp | undefined])[] = [
  ['garbage', () => answers('<>'), undefined],
  ['nothing', () => answers(''), undefined],
  ['half of it', () => closesInTheMiddle, undefined],
  ['a list', () => answersJson([]), /not an object/],
  ['an object without anything', () => answersJson({}), /of a server that was not asked about/],
  ['the keys of another server', () => answersJson(good('hs3')), /of a server that was not asked about/],
  ['a bad signature', (server) => answersJson(tampered(good(server))), /not signed by one of its own/],
  ['no signature', (server) => answersJson({ ...good(server), signatures: {} }), /not signed by one of its own/],
  ['an expired valid_until_ts', (server) => answersJson(good(server, ROOM_NOW - 1)), undefined],
  [
    'another key than it signs with',
    (server) => answersJson(keyAnswer(testKey(server, 'ed25519:b'), ROOM_NOW + DAY_MS)),
    undefined,
  ],
  [
    'more than an answer may have',
    (server) => answersJson({ ...good(server), ...pad(KEY_RESPONSE_BYTES_MAX) }),
    undefined,
  ],
  ['an answer that never ends', () => neverEnds('{"server_name":"', () => 'x'.repeat(65_536)), undefined],
  ['white space that drips', () => drips(PATIENCE_MS / 4), undefined],
  ['silence', () => staysSilent, undefined],
  ['a beginning and then nothing', () => stallsInTheMiddle, undefined],
  ['a 500', () => answers('oh', 500), undefined],
  ['a 429 with Retry-After', () => answers('{"errcode":"M_LIMIT_EXCEEDED"}', 429, { 'retry-after': '1' }), undefined],
  ['a gzip bomb', () => gzipBomb(20, {}), undefined],
];

describe('a server that is asked for its keys and answers with', () => {
  it.each(BAD_KEYS)(
    '%s: none counts, it is asked once at most, and others are had beside it',
    async (_what, act, reason) => {
      const [liar, honest] = [freshLiar(act, reason), freshServer()];
      const ring = ringWith();
      await bounded(() => ring.ensureKeys([need(liar), need(honest)]));
      expect(ring.lookup(liar as ServerName, KEY_A)?.validUntilTs ?? 0).toBeLessThan(ROOM_NOW);
      expect(ring.lookup(honest as ServerName, KEY_A)).toBeDefined();
      expect(warnings).toEqual(reason === undefined ? [] : [{ server: liar, reason: expect.stringMatching(reason) }]);
      await ring.ensureKeys([need(liar)]);
      expect(timesAsked(liar, '/_matrix/key/v2/server')).toBeLessThanOrEqual(1);
    },
  );

  it('its keys labelled as plain text is believed', async () => {
    const server = freshServer();
    acts.set(server, labelled('text/plain'));
    const ring = ringWith();
    await ring.ensureKeys([need(server)]);
    expect(ring.lookup(server as ServerName, KEY_A)).toBeDefined();
  });
});

describe('members whose servers lie about their keys', () => {
  it('are dropped by name, all others are in the room, and an honest room completes beside it', async () => {
    const [room, honest] = ['keys', 'honest'].map((name) => new ScriptedRoom(name)) as [ScriptedRoom, ScriptedRoom];
    const liars = BAD_KEYS.map(([, act, reason]) => freshLiar(act, reason));
    const userOf = (server: string) => `@user:${server}`;
    for (const server of [freshServer(), ...liars, freshServer()]) room.member(userOf(server), 'join');
    for (const made of [room, honest]) {
      made.member('@carol:hs3', 'join');
      made.say('last');
      resident.rooms.push(made);
      await joiner.join(made, 'hs1');
    }
    await bounded(async () => expect(await joiner.resync(room, honest)).toEqual([true, true]));
    const forged = liars.map(userOf);
    expect(joiner.members(room)).toEqual(
      room.members().filter((member) => !forged.includes(member.split(' ')[0] ?? '')),
    );
    for (const liar of liars) {
      expect(joiner.refusal(room, room.id('m.room.member', userOf(liar)))).toEqual({
        verdict: 'dropped',
        code: 'no-key',
        reason: `no key: ed25519:a of ${liar}`,
      });
      expect(timesAsked(liar, '/_matrix/key/v2/server')).toBeLessThanOrEqual(1);
    }
    expect(joiner.members(honest)).toEqual(honest.members());
  });
});

describe('a notary that is asked for keys and answers with', () => {
  /** The notary does so when it is queried, and publishes its own keys as it should. */
  function notaryDoes(act: Act): void {
    resident.script = ({ server, endpoint, uri }) => {
      if (server === NOTARY.serverName && uri.endsWith('/query')) return act;
      return endpoint === 'key' ? acts.get(server) : undefined;
    };
  }
  const signed = (...list: readonly JsonObject[]) =>
    answersJson({ server_keys: list.map((answer) => signJson(answer, NOTARY)) });
  const impostor = { ...testKey('impostor'), serverName: NOTARY.serverName };

  it.each<[string, (server: string) => Act, RegExp | undefined]>([
    ['garbage', () => answers('<>'), /does not answer|is not JSON/],
    ['a list', () => answersJson([]), undefined],
    ['no list of keys', () => answersJson({ server_keys: {} }), undefined],
    ['numbers', () => answersJson({ server_keys: [1] }), /not an object/],
    ['the keys of a server that was not asked about', () => signed(good('hs3')), /not asked about/],
    ['what the server did not sign', (server) => signed(tampered(good(server))), /not signed by one of its own/],
    ['what it did not sign', (server) => answersJson({ server_keys: [good(server)] }), /not signed by the notary/],
    [
      'what another signed in its name',
      (server) => answersJson({ server_keys: [signJson(good(server), impostor)] }),
      /not signed by the notary/,
    ],
    ['keys that have expired', (server) => signed(good(server, ROOM_NOW - 1)), undefined],
    [
      'more than an answer may have',
      () => answersJson({ server_keys: [], ...pad(NOTARY_ANSWER_BYTES_MAX) }),
      /more than \d+ bytes/,
    ],
    [
      'an answer that never ends',
      () => neverEnds('{"server_keys":["', () => 'x'.repeat(65_536)),
      /more than \d+ bytes|did not end/,
    ],
    ['a flood of nothing', () => answers(`{"server_keys":[${'{},'.repeat(1_000)}{}]}`), /not asked about/],
    ['silence', () => staysSilent, /no answer within/],
    ['a beginning and then nothing', () => stallsInTheMiddle, /no bytes for|no answer within/],
    ['a 500', () => answers('oh', 500), /answered 500/],
    ['a 429 with Retry-After', () => answers('{}', 429, { 'retry-after': '1' }), /answered 429/],
  ])('%s: the server itself is asked, and its keys are had', async (_what, act, reason) => {
    const server = freshServer();
    // Only where it stalls, so that good answers come in time whatever the machine does.
    if (/answer within|bytes for|did not end/.test(String(reason))) joiner.slow.add(NOTARY.serverName);
    else joiner.slow.delete(NOTARY.serverName);
    notaryDoes(act(server));
    const ring = ringWith(NOTARY.serverName);
    await bounded(() => ring.ensureKeys([need(server)]));
    expect(ring.lookup(server as ServerName, KEY_A)).toMatchObject({ validUntilTs: ROOM_NOW + DAY_MS, expired: false });
    expect(timesAsked(server, '/_matrix/key/v2/server')).toBe(1);
    const said = warnings.map(
      ({ notary, reason: why, err }) => `${notary} ${why ?? (err as unknown as Error)?.message}`,
    );
    if (reason === undefined) expect(said).toEqual([]);
    else expect(said[0]).toMatch(new RegExp(`^notary.keys.test .*(${reason.source})`));
  });

  it('good keys is believed, and the server itself is left alone', async () => {
    const server = freshServer();
    joiner.slow.clear();
    notaryDoes(signed(good(server)));
    const ring = ringWith(NOTARY.serverName);
    await ring.ensureKeys([need(server)]);
    expect(ring.lookup(server as ServerName, KEY_A)).toBeDefined();
    expect(timesAsked(server, '/_matrix/key/v2/server')).toBe(0);
  });
});
