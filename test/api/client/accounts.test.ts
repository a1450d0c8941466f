import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { ServedRoom } from '../federation/served-room.js';
import { ClientApi } from './client-api.js';

let served: ServedRoom;
let api: ClientApi;

beforeEach(() => {
  served = new ServedRoom();
  api = new ClientApi(served.server);
});

afterEach(() => served.close());

describe('POST /register', () => {
  it('registers in one shot with m.login.dummy, and the token works', async () => {
    const { status, body } = await api.register({ username: 'erin', password: 'secret', device_id: 'DEVICE' });
    expect(status).toBe(200);
    expect(body).toMatchObject({ user_id: '@erin:hs1', device_id: 'DEVICE', access_token: expect.any(String) });
    const who = await api.call('GET', '/account/whoami', { token: String(body.access_token) });
    expect(who).toEqual({ status: 200, body: { user_id: '@erin:hs1', device_id: 'DEVICE', is_guest: false } });
  });

  it('generates a user name where none is given', async () => {
    const { status, body } = await api.register({ password: 'secret' });
    expect(status).toBe(200);
    expect(body.user_id).toMatch(/^@[0-9a-f]+:hs1$/);
  });

  it('opens no session with inhibit_login', async () => {
    const { body } = await api.register({ username: 'erin', password: 'secret', inhibit_login: true });
    expect(body).toEqual({ user_id: '@erin:hs1' });
  });

  it('answers 401 with the flows and a session where auth is missing', async () => {
    const { status, body } = await api.call('POST', '/register', { content: { username: 'erin', password: 'secret' } });
    expect(status).toBe(401);
    expect(body).toMatchObject({ flows: [{ stages: ['m.login.dummy'] }], session: expect.any(String) });
  });

  it('answers M_USER_IN_USE for a name that is taken, and its password stays', async () => {
    await api.register({ username: 'erin', password: 'secret' });
    const { status, body } = await api.register({ username: 'erin', password: 'other' });
    expect([status, body.errcode]).toEqual([400, 'M_USER_IN_USE']);
    expect((await login('erin', 'other')).status).toBe(403);
    expect((await login('erin', 'secret')).status).toBe(200);
  });

  it.each(['Erin', 'er in', '', 'e:hs1', 'é', 'e'.repeat(300), 7])(
    'answers M_INVALID_USERNAME for %j',
    async (name) => {
      const { status, body } = await api.register({ username: name, password: 'secret' });
      expect([status, body.errcode]).toEqual([400, 'M_INVALID_USERNAME']);
    },
  );

  it('refuses a password that is longer than can be hashed cheaply', async () => {
    const { status, body } = await api.register({ username: 'erin', password: 'x'.repeat(513) });
    expect([status, body.errcode]).toEqual([400, 'M_INVALID_PARAM']);
  });

  it('refuses a device ID that is longer than can be kept', async () => {
    const { status, body } = await api.register({ username: 'erin', password: 'secret', device_id: 'D'.repeat(256) });
    expect([status, body.errcode]).toEqual([400, 'M_INVALID_PARAM']);
    expect((await api.register({ username: 'erin', password: 'secret' })).status).toBe(200);
  });

  it('leaves no user behind where the session cannot be stored, so that the name is free', async () => {
    const stored = served.store.write(({ tables }) => vi.spyOn(tables.access_tokens, 'put'));
    stored.mockImplementation(() => {
      throw new Error('no room');
    });
    await expect(api.register({ username: 'erin', password: 'secret' })).rejects.toThrow('no room');
    stored.mockRestore();
    expect((await login('erin', 'secret')).status).toBe(403);
    expect((await api.register({ username: 'erin', password: 'other' })).status).toBe(200);
  });

  it('answers M_FORBIDDEN where registration is disabled', async () => {
    const closed = new ClientApi(served.server, false);
    const { status, body } = await closed.register({ username: 'erin', password: 'secret' });
    expect([status, body.errcode]).toEqual([403, 'M_FORBIDDEN']);
  });
});

function login(user: string, password: string) {
  const identifier = { type: 'm.id.user', user };
  return api.call('POST', '/login', { content: { type: 'm.login.password', identifier, password } });
}

describe('POST /login', () => {
  beforeEach(() => api.register({ username: 'erin', password: 'secret' }));

  it.each(['erin', '@erin:hs1'])('opens a new session for %s with the right password', async (user) => {
    const { status, body } = await login(user, 'secret');
    expect(status).toBe(200);
    const who = await api.call('GET', '/account/whoami', { token: String(body.access_token) });
    expect(who.body).toMatchObject({ user_id: '@erin:hs1', device_id: body.device_id });
  });

  it.each([
    ['erin', 'Secret'],
    ['nobody', 'secret'],
    ['@erin:hs2', 'secret'],
    ['', 'secret'],
  ])('answers M_FORBIDDEN for user %j with password %j', async (user, password) => {
    const { status, body } = await login(user, password);
    expect([status, body.errcode]).toEqual([403, 'M_FORBIDDEN']);
  });

  it('answers M_UNKNOWN for a login type that is not offered', async () => {
    const { body: flows } = await api.call('GET', '/login');
    expect(flows).toEqual({ flows: [{ type: 'm.login.password' }] });
    const { status, body } = await api.call('POST', '/login', { content: { type: 'm.login.token', token: 'x' } });
    expect([status, body.errcode]).toEqual([400, 'M_UNKNOWN']);
  });
});

describe('client authentication', () => {
  it('answers 401 M_MISSING_TOKEN without an access token', async () => {
    const { status, body } = await api.call('GET', '/account/whoami');
    expect([status, body.errcode]).toEqual([401, 'M_MISSING_TOKEN']);
  });

  it('answers 401 M_UNKNOWN_TOKEN for a token that is not known', async () => {
    const { status, body } = await api.call('GET', '/account/whoami', { token: 'joy_nonsense' });
    expect([status, body.errcode]).toEqual([401, 'M_UNKNOWN_TOKEN']);
  });

  it('takes the token from the query string too', async () => {
    const token = await api.tokenOf('erin');
    expect((await api.call('GET', `/account/whoami?access_token=${token}`)).status).toBe(200);
  });

  it.each(['17', 'f'.repeat(4000)])('is followed by M_NOT_FOUND for a filter that is not there', async (filterId) => {
    const token = await api.tokenOf('erin');
    const path = `/user/${encodeURIComponent('@erin:hs1')}/filter/${filterId}`;
    const { status, body } = await api.call('GET', path, { token });
    expect([status, body.errcode]).toEqual([404, 'M_NOT_FOUND']);
  });

  it('stores neither the token nor the password, only their hashes', async () => {
    const token = await api.tokenOf('erin');
    const { tables } = served.store;
    const [key] = [...tables.access_tokens.getKeys({})];
    expect(Buffer.from(key as Uint8Array)).toHaveLength(32);
    const rows = [...tables.users.getRange({}), ...tables.access_tokens.getRange({})];
    expect(JSON.stringify(rows)).not.toContain(token);
    expect(JSON.stringify(rows)).not.toContain('correct horse');
    expect(JSON.stringify(rows)).toContain('$argon2id$');
  });
});
