/** Being in rooms: join, leave, joined_rooms. Specification v1.19, client-server API, "Room membership". */

import type { ServerName } from '../../kernel/matrix/ids.js';
import { parseServerName, serverNameOf } from '../../kernel/matrix/ids.js';
import { MatrixError } from '../../kernel/matrix/matrix-error.js';
import { loadRoom, loadRoomByNid } from '../../store/rooms.js';
import { localMembership, localMemberships } from '../../store/timeline.js';
import type { TokenRow } from '../../store/users.js';
import type { ApiRequest, ApiResponse, Endpoint } from '../endpoint.js';
import { ok } from '../endpoint.js';
import type { ClientContext } from './client-context.js';
import { bodyObject, roomIdParam, roomOfCaller, userEndpoint } from './client-context.js';

async function join(
  context: ClientContext,
  request: ApiRequest,
  caller: TokenRow,
  param: string,
): Promise<ApiResponse> {
  if (request.params[param]?.startsWith('#')) {
    throw new MatrixError(404, 'M_NOT_FOUND', 'aliases are not served by this version: join by room ID');
  }
  bodyObject(request);
  const roomId = roomIdParam(request, param);
  const room = loadRoom(context.server.store, roomId);
  const standing = room === undefined ? undefined : localMembership(context.server.store, caller.userId, room.nid);
  if (standing?.membership === 'join') return ok({ room_id: roomId });
  const named = [...request.query.getAll('via'), ...request.query.getAll('server_name')].map(parseServerName);
  const candidates: ServerName[] = named.filter((name) => name !== undefined);
  const own = serverNameOf(roomId);
  if (candidates.length === 0 && own !== undefined) candidates.push(own);
  await context.rooms.join({ roomId, userId: caller.userId, candidates, profile: {}, partial: context.partialJoins });
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
      const { room, membership } = roomOfCaller(context, caller, roomIdParam(request));
      // Leaving twice is no error.
      if (membership.membership !== 'leave') await context.rooms.leave(room.roomId, caller.userId);
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
