/**
 * Accounts: registration with `m.login.dummy`, login with a password, whoami, logout.
 * Specification v1.19, client-server API, "Client Authentication", "Account registration".
 */

import { randomUUID } from 'node:crypto';
import type { UserId } from '../../kernel/matrix/ids.js';
import { ID_BYTES_MAX, parseUserId, serverNameOf, utf8Bytes } from '../../kernel/matrix/ids.js';
import type { JsonObject } from '../../kernel/matrix/json.js';
import { isJsonObject } from '../../kernel/matrix/json.js';
import { MatrixError } from '../../kernel/matrix/matrix-error.js';
import type { RoomServer } from '../../room/room-server.js';
import { loadUser, putAccessToken, putUser, removeAccessToken } from '../../store/users.js';
import type { ApiRequest, ApiResponse, Endpoint } from '../endpoint.js';
import { ok } from '../endpoint.js';
import type { ClientOptions } from './client-options.js';
import { bodyObject, clientEndpoint, optionalString, userEndpoint } from './client-request.js';
import { hashPassword, newAccessToken, randomName, verifyPassword } from './passwords.js';

/** Appendices, "User Identifiers": what new local parts may hold. */
const LOCALPART = /^[a-z0-9._=\-/+]+$/;
const DUMMY = 'm.login.dummy';
const PASSWORD = 'm.login.password';

export function accountEndpoints(server: RoomServer, options: ClientOptions): Endpoint[] {
  return [
    ...clientEndpoint('POST', '/register', (request) => register(server, options, request)),
    ...clientEndpoint('GET', '/register/available', async (request) => {
      const userId = newUserId(server, request.query.get('username') ?? '');
      if (loadUser(server.store, userId) !== undefined) throw userInUse(userId);
      return ok({ available: true });
    }),
    ...clientEndpoint('GET', '/login', async () => ok({ flows: [{ type: PASSWORD }] })),
    ...clientEndpoint('POST', '/login', (request) => login(server, request)),
    ...userEndpoint(server, 'GET', '/account/whoami', async (_request, caller) =>
      ok({ user_id: caller.userId, device_id: caller.deviceId, is_guest: false }),
    ),
    ...userEndpoint(server, 'POST', '/logout', async (_request, caller) => {
      server.store.write((writer) => removeAccessToken(writer, caller.token));
      return ok({});
    }),
  ];
}

function newUserId(server: RoomServer, localpart: string): UserId {
  const userId = `@${localpart}:${server.serverName}`;
  if (!LOCALPART.test(localpart) || utf8Bytes(userId) > ID_BYTES_MAX) {
    throw new MatrixError(400, 'M_INVALID_USERNAME', 'a user name consists of a-z, 0-9 and ._=-/+');
  }
  return userId as UserId;
}

function userInUse(userId: UserId): MatrixError {
  return new MatrixError(400, 'M_USER_IN_USE', `${userId} is taken`);
}

async function register(server: RoomServer, options: ClientOptions, request: ApiRequest): Promise<ApiResponse> {
  if (!options.registrationEnabled) throw new MatrixError(403, 'M_FORBIDDEN', 'registration is disabled on this server');
  const kind = request.query.get('kind') ?? 'user';
  if (kind === 'guest') throw new MatrixError(403, 'M_GUEST_ACCESS_FORBIDDEN', 'this server has no guests');
  if (kind !== 'user') throw new MatrixError(400, 'M_INVALID_PARAM', 'kind must be user or guest');
  const body = bodyObject(request, true);
  const userId = newUserId(server, optionalString(body, 'username') ?? `u${randomName()}`);
  const password = optionalString(body, 'password');
  const deviceId = optionalString(body, 'device_id') ?? randomName().toUpperCase();
  if (loadUser(server.store, userId) !== undefined) throw userInUse(userId);
  const auth = body.auth;
  if (!isJsonObject(auth) || auth.type !== DUMMY) {
    return { status: 401, json: { session: randomUUID(), flows: [{ stages: [DUMMY] }], params: {}, completed: [] } };
  }
  const passwordHash = password === undefined ? '' : await hashPassword(password);
  const token = body.inhibit_login === true ? undefined : newAccessToken();
  server.store.write((writer) => {
    if (loadUser(writer, userId) !== undefined) throw userInUse(userId);
    putUser(writer, userId, { passwordHash, createdTs: server.clock() });
    if (token !== undefined) putAccessToken(writer, token, { userId, deviceId });
  });
  return ok(token === undefined ? { user_id: userId } : session(server, userId, deviceId, token));
}

function session(server: RoomServer, userId: UserId, deviceId: string, token: string): JsonObject {
  return { user_id: userId, access_token: token, device_id: deviceId, home_server: server.serverName };
}

async function login(server: RoomServer, request: ApiRequest): Promise<ApiResponse> {
  const body = bodyObject(request);
  if (body.type !== PASSWORD) throw new MatrixError(400, 'M_UNKNOWN', `this server knows login by ${PASSWORD} only`);
  const name = loginName(body);
  const password = optionalString(body, 'password');
  if (name === undefined || password === undefined) {
    throw new MatrixError(400, 'M_MISSING_PARAM', 'login needs identifier (m.id.user) and password');
  }
  const userId = name.startsWith('@') ? parseUserId(name) : (`@${name}:${server.serverName}` as UserId);
  const ours = userId !== undefined && utf8Bytes(userId) <= ID_BYTES_MAX && serverNameOf(userId) === server.serverName;
  const user = ours ? loadUser(server.store, userId) : undefined;
  const correct = await verifyPassword(user?.passwordHash, password);
  if (!correct || userId === undefined) throw new MatrixError(403, 'M_FORBIDDEN', 'wrong user name or password');
  const deviceId = optionalString(body, 'device_id') ?? randomName().toUpperCase();
  const token = newAccessToken();
  server.store.write((writer) => putAccessToken(writer, token, { userId, deviceId }));
  return ok(session(server, userId, deviceId, token));
}

function loginName(body: JsonObject): string | undefined {
  const identifier = body.identifier;
  if (!isJsonObject(identifier)) return optionalString(body, 'user');
  if (identifier.type !== 'm.id.user') throw new MatrixError(400, 'M_UNKNOWN', 'this server knows identifiers of type m.id.user only');
  return optionalString(identifier, 'user');
}
