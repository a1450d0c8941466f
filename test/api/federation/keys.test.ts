import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { JsonObject } from '../../../src/kernel/matrix/json.js';
import { signJson, verifyJson } from '../../../src/kernel/signatures/sign-json.js';
import { putKeyResponse } from '../../../src/store/server-keys.js';
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
