import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import {
  FETCHED_LATELY_MS,
  NOTARY_DEADLINE_MS,
  NOTARY_FETCH_RATE,
  SERVERS_FETCHED_A_QUERY_MAX,
} from '../../../src/api/federation/fetch-queried-keys.js';
import type { ServerName } from '../../../src/kernel/matrix/ids.js';
import type { JsonObject } from '../../../src/kernel/matrix/json.js';
import { signJson, verifyJson } from '../../../src/kernel/signatures/sign-json.js';
import { RemoteError } from '../../../src/remote/remote-error.js';
import { putKeyResponse } from '../../../src/store/server-keys.js';
import { keyAnswer, testKey } from '../../support/federation-stub.js';
import { HS2_KEY, NOW, OWN_KEY, ServedRoom } from './served-room.js';

let served: ServedRoom;
beforeEach(() => {
  served = new ServedRoom();
});
afterEach(() => served.close());

const signedBy = (object: JsonObject, key: typeof OWN_KEY) =>
  verifyJson(object, key.serverName, key.keyId, key.publicKey);

describe('key/v2/server', () => {
  it('publishes our key, signed with itself and valid for a day', async () => {
    const { status, body } = await served.call('GET', '/_matrix/key/v2/server');
    expect(status).toBe(200);
    expect(body).toMatchObject({ server_name: 'hs1', old_verify_keys: {}, valid_until_ts: NOW + 86_400_000 });
    expect(body.verify_keys).toEqual({ 'ed25519:k': { key: OWN_KEY.publicKey.toString('base64').replace('=', '') } });
    expect(signedBy(body, OWN_KEY)).toBe(true);
  });
});

describe('key/v2/query', () => {
  beforeEach(() => {
    const response = signJson(
      { server_name: 'hs2', verify_keys: {}, old_verify_keys: {}, valid_until_ts: NOW },
      HS2_KEY,
    );
    served.store.write((writer) =>
      putKeyResponse(writer, HS2_KEY.serverName, { response, fetchedTs: NOW, validUntilTs: NOW }),
    );
  });

  it('returns stored responses with our signature added, ours too, and leaves out what it does not have', async () => {
    const content = { server_keys: { hs1: {}, hs2: { 'ed25519:k': { minimum_valid_until_ts: 1 } }, hs9: {} } };
    for (let round = 0; round < 2; round++) {
      const { body } = await served.call('POST', '/_matrix/key/v2/query', { content });
      const keys = body.server_keys as JsonObject[];
      expect(keys.map(({ server_name }) => server_name)).toEqual(['hs1', 'hs2']);
      expect(keys.every((response) => signedBy(response, OWN_KEY))).toBe(true);
      expect(signedBy(keys[1] as JsonObject, HS2_KEY)).toBe(true);
    }
    const { body } = await served.call('GET', '/_matrix/key/v2/query/hs2');
    expect(body.server_keys).toHaveLength(1);
  });

  describe('for keys that are not stored, or not for long enough', () => {
    const DAY = 86_400_000;
    let asked: string[];
    beforeEach(() => {
      asked = [];
      served.network = async (server, { path }) => {
        asked.push(`${server} ${path}`);
        if (server === 'silent') throw new RemoteError('unreachable', server, 'no answer');
        return keyAnswer(testKey(server), NOW + DAY);
      };
    });
    const namesIn = (body: JsonObject) => (body.server_keys as JsonObject[]).map(({ server_name: name }) => name);
    const validUntil = (body: JsonObject) => (body.server_keys as JsonObject[])[0]?.valid_until_ts;
    const query = (content: JsonObject) =>
      served.call('POST', '/_matrix/key/v2/query', { content: { server_keys: content } });

    it('asks the servers themselves, no notary, and leaves out those that do not answer', async () => {
      const { body } = await query({ hs8: {}, silent: {}, hs9: { 'ed25519:a': {} } });
      expect(namesIn(body)).toEqual(['hs8', 'hs9']);
      expect(asked.sort()).toEqual(['hs8', 'hs9', 'silent'].map((name) => `${name} /_matrix/key/v2/server`));
      await query({ hs8: {}, silent: {}, hs9: { 'ed25519:a': {} } });
      expect(asked).toHaveLength(3);
    });

    it('asks again for a key that is stored and not valid until the wanted time', async () => {
      const response = keyAnswer(testKey('hs8'), NOW + 1000);
      served.store.write((writer) =>
        putKeyResponse(writer, 'hs8' as ServerName, {
          response,
          fetchedTs: NOW - FETCHED_LATELY_MS - 1,
          validUntilTs: NOW + 1000,
        }),
      );
      const uri = '/_matrix/key/v2/query/hs8';
      expect(validUntil((await served.call('GET', uri)).body)).toBe(NOW + 1000);
      expect(asked).toEqual([]);
      const { body } = await served.call('GET', `${uri}?minimum_valid_until_ts=${NOW + 2000}`);
      expect([validUntil(body), asked]).toEqual([NOW + DAY, ['hs8 /_matrix/key/v2/server']]);
      const more = { hs8: { 'ed25519:a': { minimum_valid_until_ts: NOW + 9 * DAY } } };
      expect(validUntil((await query(more)).body)).toBe(NOW + DAY);
      expect(asked).toHaveLength(1);
      expect(await served.call('GET', `${uri}?minimum_valid_until_ts=soon`)).toMatchObject({ status: 400 });
    });

    it('calls a limited number of servers for one query, and for all of them together', async () => {
      const many = (from: number) =>
        Object.fromEntries(Array.from({ length: SERVERS_FETCHED_A_QUERY_MAX + 10 }, (_, i) => [`s${from + i}`, {}]));
      const { body } = await query(many(0));
      expect(namesIn(body)).toHaveLength(SERVERS_FETCHED_A_QUERY_MAX);
      for (let n = 1; n < 10; n++) await query(many(1000 * n));
      expect(asked).toHaveLength(NOTARY_FETCH_RATE.burst);
    });

    it('answers with what is stored when the deadline is over', async () => {
      const deadline = new AbortController();
      const timeout = vi.spyOn(AbortSignal, 'timeout').mockReturnValue(deadline.signal);
      try {
        served.network = () => {
          deadline.abort();
          return new Promise(() => undefined);
        };
        const { body } = await query({ hs2: {}, hs8: {} });
        expect(namesIn(body)).toEqual(['hs2']);
        expect(timeout).toHaveBeenCalledWith(NOTARY_DEADLINE_MS);
      } finally {
        timeout.mockRestore();
      }
    });
  });

  it('refuses more than 500 servers in one query', async () => {
    const asked = (count: number) => ({
      server_keys: Object.fromEntries(Array.from({ length: count }, (_, i) => [`s${i}`, {}])),
    });
    expect(await served.call('POST', '/_matrix/key/v2/query', { content: asked(500) })).toMatchObject({ status: 200 });
    const refused = await served.call('POST', '/_matrix/key/v2/query', { content: asked(501) });
    expect([refused.status, refused.body.errcode]).toEqual([400, 'M_INVALID_PARAM']);
  });
});

describe('version', () => {
  it('names this software', async () => {
    const { body } = await served.call('GET', '/_matrix/federation/v1/version');
    expect((body.server as JsonObject).name).toBe('Joinery');
  });
});
