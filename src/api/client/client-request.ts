/**
 * What client endpoints share: both path prefixes, the user behind the access token, bodies and path names.
 * Specification v1.19, client-server API, "Using access tokens" and "Standard error response".
 */

import type { RoomId } from '../../kernel/matrix/ids.js';
import { parseRoomId } from '../../kernel/matrix/ids.js';
import type { JsonObject } from '../../kernel/matrix/json.js';
import { MatrixError } from '../../kernel/matrix/matrix-error.js';
import { parseJsonObject } from '../../kernel/matrix/parse-json.js';
import type { RoomServer } from '../../room/room-server.js';
import type { TokenRow } from '../../store/users.js';
import { loadAccessToken } from '../../store/users.js';
import type { ApiRequest, ApiResponse, Endpoint, HttpMethod } from '../endpoint.js';

/** Largest body of a client: an event is at most 65,536 bytes, JSON escapes may double it and more. */
export const CLIENT_BODY_BYTES_MAX = 256 * 1024;

const PREFIXES = ['/_matrix/client/v3', '/_matrix/client/r0'] as const;

/** An endpoint at its r0 and v3 paths. */
export function clientEndpoint(
  method: HttpMethod,
  path: string,
  handle: (request: ApiRequest) => Promise<ApiResponse>,
): Endpoint[] {
  return PREFIXES.map((prefix) => ({ method, path: prefix + path, bodyBytesMax: CLIENT_BODY_BYTES_MAX, handle }));
}

/** Who asks, and with which token. */
export interface Caller extends TokenRow {
  readonly token: string;
}

/** `clientEndpoint` for users: 401 without a token that is known. */
export function userEndpoint(
  server: RoomServer,
  method: HttpMethod,
  path: string,
  handle: (request: ApiRequest, caller: Caller) => Promise<ApiResponse>,
): Endpoint[] {
  return clientEndpoint(method, path, async (request) => handle(request, authenticate(server, request)));
}

function authenticate(server: RoomServer, request: ApiRequest): Caller {
  const bearer = /^Bearer +(\S+)$/i.exec(request.header('authorization') ?? '')?.[1];
  const token = bearer ?? request.query.get('access_token') ?? '';
  if (token === '') throw new MatrixError(401, 'M_MISSING_TOKEN', 'this needs an access token');
  const row = loadAccessToken(server.store, token);
  if (row === undefined) {
    throw new MatrixError(401, 'M_UNKNOWN_TOKEN', 'this access token is not known', { soft_logout: false });
  }
  return { ...row, token };
}

/** The body as a JSON object; an empty one only where `optional`. Throws MatrixError 400. */
export function bodyObject(request: ApiRequest, optional = false): JsonObject {
  if (optional && request.body.length === 0) return {};
  const parsed = parseJsonObject(request.body.toString('utf8'), false);
  if (parsed.ok) return parsed.value;
  const errcode = parsed.code === 'not-json' && !looksLikeJson(request.body) ? 'M_NOT_JSON' : 'M_BAD_JSON';
  throw new MatrixError(400, errcode, `the body is refused: ${parsed.reason}`);
}

/** Whether it parses at all, so that what is wrong is its shape. */
function looksLikeJson(body: Buffer): boolean {
  try {
    JSON.parse(body.toString('utf8'));
    return true;
  } catch (error) {
    if (error instanceof SyntaxError) return false;
    throw error;
  }
}

/** A value that must be a string when it is there. Throws MatrixError 400. */
export function optionalString(body: JsonObject, key: string): string | undefined {
  const value = body[key];
  if (value === undefined || value === null) return undefined;
  if (typeof value !== 'string') throw new MatrixError(400, 'M_BAD_JSON', `${key} must be a string`);
  return value;
}

/** The room ID in the path. Throws MatrixError 400. */
export function roomIdParam(request: ApiRequest): RoomId {
  const roomId = parseRoomId(request.params.roomId);
  if (roomId === undefined) throw new MatrixError(400, 'M_INVALID_PARAM', 'the path does not name a room ID');
  return roomId;
}
