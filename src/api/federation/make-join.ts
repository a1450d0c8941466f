/**
 * `GET /_matrix/federation/v1/make_join/{roomId}/{userId}`: the template of a join, which the joining server completes and
 * signs. Refused where the join itself would be.
 * Specification v1.19, server-server API, "Joining Rooms".
 */

import { checkAuthRules } from '../../kernel/event-auth/check-auth-rules.js';
import type { AuthEvent } from '../../kernel/matrix/auth-event.js';
import type { EventId, ServerName, UserId } from '../../kernel/matrix/ids.js';
import { parseUserId, serverNameOf } from '../../kernel/matrix/ids.js';
import type { JsonObject } from '../../kernel/matrix/json.js';
import { MatrixError } from '../../kernel/matrix/matrix-error.js';
import { buildEvent, selectAuthEvents } from '../../room/build-event.js';
import type { RoomServer } from '../../room/room-server.js';
import { storedState } from '../../room/room-state.js';
import { eventIdOfNid, loadRecord } from '../../store/events.js';
import type { Room } from '../../store/rooms.js';
import type { Endpoint } from '../endpoint.js';
import { ok } from '../endpoint.js';
import { authenticated } from './authenticate.js';
import { checkAllowConditions, chooseAuthoriser, needsAuthoriser } from './choose-authoriser.js';
import type { FederationContext } from './federation-context.js';
import { checkServerAcl, residentRoom, roomIdOf } from './room-access.js';

/** Most prev_events of a template; others accept 20, and the newest ones heal the graph soon enough. */
const TEMPLATE_PREV_EVENTS_MAX = 10;
/** What a server supports that names no versions. */
const VERSIONS_DEFAULT = ['1'];

export function makeJoin(context: FederationContext): Endpoint {
  const { server } = context;
  return authenticated(context, {
    method: 'GET',
    path: '/_matrix/federation/v1/make_join/{roomId}/{userId}',
    answer: async ({ params, query, origin }) => {
      const room = residentRoom(server, roomIdOf(params.roomId));
      checkServerAcl(server.store, room, origin);
      const userId = userOf(params.userId, origin);
      const offered = query.getAll('ver');
      if (!(offered.length === 0 ? VERSIONS_DEFAULT : offered).includes(room.version)) {
        const reason = `the room has version ${room.version}, which your server does not support`;
        throw new MatrixError(400, 'M_INCOMPATIBLE_ROOM_VERSION', reason, { room_version: room.version });
      }
      return ok({ room_version: room.version, event: joinTemplate(server, room, userId) });
    },
  });
}

function userOf(text: string | undefined, origin: ServerName): UserId {
  const userId = parseUserId(text);
  if (userId === undefined) throw new MatrixError(400, 'M_INVALID_PARAM', 'userId is not a user ID');
  if (serverNameOf(userId) !== origin)
    throw new MatrixError(403, 'M_FORBIDDEN', `${userId} is not a user of ${origin}`);
  return userId;
}

function joinTemplate(server: RoomServer, room: Room, userId: UserId): JsonObject {
  const state = storedState(server.store, room, room.currentGroup);
  const content: Record<string, string> = { membership: 'join' };
  if (needsAuthoriser(room, state, userId)) {
    checkAllowConditions(server, state, userId);
    content.join_authorised_via_users_server = chooseAuthoriser(server, room, state);
  }
  const intent = { type: 'm.room.member', sender: userId, stateKey: userId, content };
  const prevs = room.extremities
    .map((nid) => ({ nid, depth: loadRecord(server.store, nid)?.depth ?? 0 }))
    .sort((a, b) => b.depth - a.depth || b.nid - a.nid)
    .slice(0, TEMPLATE_PREV_EVENTS_MAX);
  const place = {
    roomId: room.roomId,
    authEventIds: selectAuthEvents(room.rules, intent, state),
    prevEventIds: prevs.map(({ nid }) => eventIdOfNid(server.store, nid)),
    depth: prevs[0]?.depth ?? 0,
    now: server.clock(),
    random: server.random,
  };
  const template = buildEvent(room.rules, intent, place);
  const join: AuthEvent = {
    ...intent,
    // It has no ID before it is signed; the rules for joins do not read it.
    eventId: '$template' as EventId,
    roomId: room.roomId,
    originServerTs: place.now,
    depth: place.depth + 1,
    authEventIds: place.authEventIds,
    prevEventIds: place.prevEventIds,
    redacts: undefined,
    rejected: false,
  };
  const verdict = checkAuthRules(room.rules, join, state);
  if (!verdict.allowed) throw new MatrixError(403, 'M_FORBIDDEN', `${userId} may not join: ${verdict.reason}`);
  return template;
}
