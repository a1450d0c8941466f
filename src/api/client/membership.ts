/** Being in rooms: join, leave, joined_rooms. Specification v1.19, client-server API, "Room membership". */

import type { ServerName } from '../../kernel/matrix/ids.js';
import { parseServerName, serverNameOf } from '../../kernel/matrix/ids.js';
import type { JsonObject } from '../../kernel/matrix/json.js';
import { MatrixError } from '../../kernel/matrix/matrix-error.js';
import { loadRoom, loadRoomByNid } from '../../store/rooms.js';
import { localMembership, localMemberships } from '../../store/timeline.js';
import type { TokenRow } from '../../store/users.js';
import type { ApiRequest, ApiResponse, Endpoint } from '../endpoint.js';
import { ok } from '../endpoint.js';
import type { ClientContext } from './client-context.js';
import { bodyObject, roomIdParam, roomOfCaller, userEndpoint } from './client-context.js';

/** The reason that a body may give, as the membership's content has it. Throws 400. */
function reasonOf(request: ApiRequest): JsonObject {
  const { reason } = bodyObject(request);
  if (reason === undefined) return {};
  if (typeof reason !== 'string') throw new MatrixError(400, 'M_BAD_JSON', 'reason is not a string');
  return { reason };
}

async function join(
  context: ClientContext,
  request: ApiRequest,
  caller: TokenRow,
  param: string,
): Promise<ApiResponse> {
  if (request.params[param]?.startsWith('#')) {
    throw new MatrixError(404, 'M_NOT_FOUND', 'aliases are not served by this version: join by room ID');
  }
  const reason = reasonOf(request);
  const roomId = roomIdParam(request, param);
  const room = loadRoom(context.server.store, roomId);
  const standing = room === undefined ? undefined : localMembership(context.server.store, caller.userId, room.nid);
  if (standing?.membership === 'join') return ok({ room_id: roomId });
  const named = [...request.query.getAll('via'), ...request.query.getAll('server_name')].map(parseServerName);
  const candidates: ServerName[] = named.filter((name) => name !== undefined);
  const own = serverNameOf(roomId);
  if (candidates.length === 0 && own !== undefined) candidates.push(own);
  await context.rooms.join({
    roomId,
    userId: caller.userId,
    candidates,
    profile: reason,
    partial: context.partialJoins,
  });
  return ok({ room_id: roomId });
}

export function membershipEndpoints(context: ClientContext): readonly Endpoint[] {
  const { store } = context.server;
  return [
    ...userEndpoint(context, 'POST', '/join/{roomIdOrAlias}', (request, caller) =>
      join(context, request, caller, 'roomIdOrAlias'),
    ),
    ...userEndpoint(context, 'POST', '/rooms/{roomId}/join', (request, caller) =>
      join(context, request, caller, 'roomId'),
    ),
    ...userEndpoint(context, 'POST', '/rooms/{roomId}/leave', async (request, caller) => {
      const content = { ...reasonOf(request), membership: 'leave' };
      const { room, membership } = roomOfCaller(context, caller, roomIdParam(request));
      // Leaving twice is no error.
      if (membership.membership === 'leave') return ok({});
      await context.rooms.send(room.roomId, caller.userId, {
        type: 'm.room.member',
        stateKey: caller.userId,
        content,
      });
      return ok({});
    }),
    ...userEndpoint(context, 'GET', '/joined_rooms', async (_request, { userId }) => {
      const rooms: string[] = [];
      for (const [nid, { membership }] of localMemberships(store, userId)) {
        const room = membership === 'join' ? loadRoomByNid(store, nid) : undefined;
        if (room !== undefined) rooms.push(room.roomId);
      }
      return ok({ joined_rooms: rooms });
    }),
  ];
}
