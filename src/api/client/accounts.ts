/**
 * Accounts: register with `m.login.dummy` in one shot, log in with a password, whoami. Passwords and tokens are stored
 * hashed.
 * Specification v1.19, client-server API, "Account registration" and "Login".
 */

import { randomBytes } from 'node:crypto';
import type { UserId } from '../../kernel/matrix/ids.js';
import { parseUserId } from '../../kernel/matrix/ids.js';
import type { JsonObject } from '../../kernel/matrix/json.js';
import { isJsonObject } from '../../kernel/matrix/json.js';
import { MatrixError } from '../../kernel/matrix/matrix-error.js';
import type { StoreWriter } from '../../store/open-store.js';
import { loadUser, putAccessToken, putUser } from '../../store/users.js';
import type { Endpoint } from '../endpoint.js';
import { ok } from '../endpoint.js';
import type { ClientContext } from './client-context.js';
import { bodyObject, openEndpoint, userEndpoint } from './client-context.js';
import { Passwords } from './passwords.js';

/** Longest password in bytes: hashing costs by it. */
const PASSWORD_BYTES_MAX = 512;
/** Longest device ID in bytes, as for user IDs: it is part of keys in the store. */
const DEVICE_ID_BYTES_MAX = 255;
const LOCALPART = /^[a-z0-9._=\-/+]+$/;

function passwordOf(body: JsonObject): string {
  const { password } = body;
  if (typeof password !== 'string' || password === '')
    throw new MatrixError(400, 'M_MISSING_PARAM', 'password is missing');
  if (Buffer.byteLength(password) > PASSWORD_BYTES_MAX) {
    throw new MatrixError(400, 'M_INVALID_PARAM', `password is longer than ${PASSWORD_BYTES_MAX} bytes`);
  }
  return password;
}

/** The device ID that was asked for, or a new one. Throws 400. */
function deviceIdOf(body: JsonObject): string {
  if (typeof body.device_id !== 'string') return randomBytes(6).toString('hex').toUpperCase();
  if (Buffer.byteLength(body.device_id) > DEVICE_ID_BYTES_MAX) {
    throw new MatrixError(400, 'M_INVALID_PARAM', `device_id is longer than ${DEVICE_ID_BYTES_MAX} bytes`);
  }
  return body.device_id;
}

/** A new session of a user, as its client is told. */
function putSession(writer: StoreWriter, { server }: ClientContext, userId: UserId, deviceId: string): JsonObject {
  const token = `joy_${randomBytes(32).toString('base64url')}`;
  putAccessToken(writer, token, { userId, deviceId });
  return { user_id: userId, access_token: token, device_id: deviceId, home_server: server.serverName };
}

function newUserId(context: ClientContext, body: JsonObject): UserId {
  const name = body.username ?? randomBytes(8).toString('hex');
  const userId =
    typeof name === 'string' && LOCALPART.test(name) ? parseUserId(`@${name}:${context.server.serverName}`) : undefined;
  if (userId === undefined) {
    throw new MatrixError(400, 'M_INVALID_USERNAME', 'a user name has the characters a-z 0-9 . _ = - / + only');
  }
  return userId;
}

export function accountEndpoints(context: ClientContext): readonly Endpoint[] {
  const { store } = context.server;
  const passwords = new Passwords();
  return [
    ...openEndpoint('POST', '/register', async (request) => {
      if (!context.registrationEnabled)
        throw new MatrixError(403, 'M_FORBIDDEN', 'registration is not enabled on this server');
      const body = bodyObject(request);
      const auth = isJsonObject(body.auth) ? body.auth : {};
      if (auth.type !== 'm.login.dummy') {
        const session = randomBytes(12).toString('base64url');
        return { status: 401, json: { flows: [{ stages: ['m.login.dummy'] }], params: {}, session } };
      }
      const userId = newUserId(context, body);
      const deviceId = deviceIdOf(body);
      const passwordHash = await passwords.hash(passwordOf({ password: randomBytes(18).toString('base64'), ...body }));
      // One write: a name whose session was lost could not be registered again, and its password may be a generated one.
      const registered = store.write((writer) => {
        if (loadUser(writer, userId) !== undefined) throw new MatrixError(400, 'M_USER_IN_USE', `${userId} is taken`);
        putUser(writer, userId, { passwordHash, createdTs: context.server.clock() });
        return body.inhibit_login === true ? { user_id: userId } : putSession(writer, context, userId, deviceId);
      });
      return ok(registered);
    }),
    ...openEndpoint('GET', '/login', async () => ok({ flows: [{ type: 'm.login.password' }] })),
    ...openEndpoint('POST', '/login', async (request) => {
      const body = bodyObject(request);
      if (body.type !== 'm.login.password')
        throw new MatrixError(400, 'M_UNKNOWN', 'the login type is not m.login.password');
      const named = isJsonObject(body.identifier) ? body.identifier.user : body.user;
      const name = typeof named === 'string' ? named : '';
      const userId = parseUserId(name.startsWith('@') ? name : `@${name}:${context.server.serverName}`);
      const user = userId === undefined ? undefined : loadUser(store, userId);
      // Who is not known here costs the same, so that the time of the answer does not tell who is.
      const matches = await passwords.matches(user?.passwordHash, passwordOf(body));
      if (userId === undefined || !matches) {
        throw new MatrixError(403, 'M_FORBIDDEN', 'user name or password is wrong');
      }
      const deviceId = deviceIdOf(body);
      return ok(store.write((writer) => putSession(writer, context, userId, deviceId)));
    }),
    ...userEndpoint(context, 'GET', '/account/whoami', async (_request, { userId, deviceId }) =>
      ok({ user_id: userId, device_id: deviceId, is_guest: false }),
    ),
  ];
}
