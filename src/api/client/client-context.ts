/**
 * What client endpoints share: their options, who the caller is, and which rooms the caller may see.
 * Specification v1.19, client-server API, "Client Authentication".
 */

import type { EventId, RoomId, UserId } from '../../kernel/matrix/ids.js';
import { parseRoomId } from '../../kernel/matrix/ids.js';
import type { JsonObject } from '../../kernel/matrix/json.js';
import { isJsonObject } from '../../kernel/matrix/json.js';
import { MatrixError } from '../../kernel/matrix/matrix-error.js';
import type { JoinRequest } from '../../room/join/join-room.js';
import type { RoomServer } from '../../room/room-server.js';
import type { StoreWriter } from '../../store/open-store.js';
import type { Room } from '../../store/rooms.js';
import { loadRoom } from '../../store/rooms.js';
import type { LocalMembership } from '../../store/timeline.js';
import { localMembership } from '../../store/timeline.js';
import type { TokenRow } from '../../store/users.js';
import { loadAccessToken } from '../../store/users.js';
import type { FullStateWaiters } from '../../sync/full-state-waiters.js';
import type { SyncNotifier } from '../../sync/sync-notifier.js';
import { historyVisibility } from '../../sync/visible-to-user.js';
import type { ApiRequest, ApiResponse, Endpoint, HttpMethod } from '../endpoint.js';

export interface ClientIntent {
  readonly type: string;
  readonly stateKey: string | undefined;
  readonly content: JsonObject;
}

export interface ClientOptions {
  readonly registrationEnabled: boolean;
  readonly defaultRoomVersion: string;
  readonly partialJoins: boolean;
  readonly waiters: FullStateWaiters;
  readonly sync: SyncNotifier;
  readonly rooms: {
    join(request: JoinRequest): Promise<void>;
    /** `alongside`: written with the event. */
    send(
      roomId: RoomId,
      sender: UserId,
      intent: ClientIntent,
      alongside?: (writer: StoreWriter, eventId: EventId) => void,
    ): Promise<EventId>;
  };
}

export interface ClientContext extends ClientOptions {
  readonly server: RoomServer;
}

/** Largest event a client may send: the content of a 64 KiB event with room for white space. */
export const EVENT_BODY_BYTES_MAX = 128 * 1024;

/** The prefixes of the client-server API; old clients still use r0. */
const PREFIXES = ['/_matrix/client/v3', '/_matrix/client/r0'];

type Handle = (request: ApiRequest) => Promise<ApiResponse>;

/** An endpoint under both prefixes that anybody may call. */
export function openEndpoint(method: HttpMethod, path: string, handle: Handle): readonly Endpoint[] {
  return PREFIXES.map((prefix) => ({ method, path: prefix + path, bodyBytesMax: EVENT_BODY_BYTES_MAX, handle }));
}

/** An endpoint under both prefixes for a caller with an access token. */
export function userEndpoint(
  context: ClientContext,
  method: HttpMethod,
  path: string,
  handle: (request: ApiRequest, caller: TokenRow) => Promise<ApiResponse>,
): readonly Endpoint[] {
  return openEndpoint(method, path, async (request) => handle(request, authenticate(context, request)));
}

/** Who calls. Throws 401. */
function authenticate(context: ClientContext, request: ApiRequest): TokenRow {
  const header = /^Bearer\s+(\S+)$/i.exec(request.header('authorization') ?? '')?.[1];
  const token = header ?? request.query.get('access_token');
  if (token === null || token === undefined || token === '') {
    throw new MatrixError(401, 'M_MISSING_TOKEN', 'an access token is required: send it as Authorization: Bearer');
  }
  const row = loadAccessToken(context.server.store, token);
  if (row === undefined)
    throw new MatrixError(401, 'M_UNKNOWN_TOKEN', 'the access token is not known', { soft_logout: false });
  return row;
}

/** The request's body as an object; empty where there is none. Throws 400. */
export function bodyObject(request: ApiRequest): JsonObject {
  if (request.body.length === 0) return {};
  let value: unknown;
  try {
    value = JSON.parse(request.body.toString('utf8'));
  } catch (error) {
    throw new MatrixError(400, 'M_NOT_JSON', 'the body is not JSON', {}, { cause: error });
  }
  if (!isJsonObject(value)) throw new MatrixError(400, 'M_BAD_JSON', 'the body is not a JSON object');
  return value;
}

/** A path's room ID. Throws 400. */
export function roomIdParam(request: ApiRequest, name = 'roomId'): RoomId {
  const roomId = parseRoomId(request.params[name]);
  if (roomId === undefined) throw new MatrixError(400, 'M_INVALID_PARAM', `${request.params[name]} is not a room ID`);
  return roomId;
}

/** A room in which the caller has a membership, whichever it is. Throws 403. */
export function roomOfCaller(
  context: ClientContext,
  caller: TokenRow,
  roomId: RoomId,
): { readonly room: Room; readonly membership: LocalMembership } {
  const room = loadRoom(context.server.store, roomId);
  const membership = room === undefined ? undefined : localMembership(context.server.store, caller.userId, room.nid);
  if (room === undefined || membership === undefined) throw notInRoom(roomId);
  return { room, membership };
}

/** A room whose state the caller may see: with `left`, as it was when that ended the caller's stay; else as it is. */
export interface RoomView {
  readonly room: Room;
  readonly joinedAt: LocalMembership['joinedAt'];
  readonly left: LocalMembership['left'];
}

/**
 * The room as the caller may see it: who is in it, who was, and where the history is world-readable anybody. An invitation,
 * a knock or a ban of who never was in it shows nothing. Throws 403.
 */
export function viewOfRoom(context: ClientContext, { userId }: TokenRow, roomId: RoomId): RoomView {
  const { store } = context.server;
  const room = loadRoom(store, roomId);
  if (room === undefined) throw notInRoom(roomId);
  const { joinedAt, left } = localMembership(store, userId, room.nid) ?? {};
  if (joinedAt === undefined && historyVisibility(store, room, room.currentGroup) !== 'world_readable') {
    throw notInRoom(roomId);
  }
  return { room, joinedAt, left };
}

/** What anybody is answered who may not see a room. */
export function notInRoom(roomId: RoomId): MatrixError {
  return new MatrixError(403, 'M_FORBIDDEN', `you are not in the room ${roomId}`);
}

/**
 * Waits until a room has full state. Who has left, before or meanwhile, does not wait: the memberships that we hold are the
 * answer. Throws 503 when the resync failed for now, or takes too long. MSC3902.
 */
export async function withFullState(
  context: ClientContext,
  caller: TokenRow,
  view: RoomView,
  request: ApiRequest,
): Promise<RoomView> {
  const { room, left } = view;
  if (left !== undefined) return view;
  const outcome = await context.waiters.wait(room.nid, caller.userId, request.signal);
  if (outcome === 'full' || outcome === 'departed') return viewOfRoom(context, caller, room.roomId);
  const untilNextTryMs = context.waiters.untilNextTryMs(room.nid);
  throw new MatrixError(503, 'M_UNKNOWN', `the state of ${room.roomId} is not complete yet: ask again later`, {
    retry_after_ms: untilNextTryMs > 0 ? untilNextTryMs : RETRY_AFTER_MS,
  });
}

/** When a client that waited in vain should ask again, where no resync says when it is tried next. */
const RETRY_AFTER_MS = 30_000;
