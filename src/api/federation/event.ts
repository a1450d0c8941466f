/**
 * `GET /_matrix/federation/v1/event/{eventId}`: one event, as a server in its room may see it.
 * Specification v1.19, server-server API, "Retrieving events".
 */

import { MatrixError } from '../../kernel/matrix/matrix-error.js';
import { eventNidOf, loadRecord } from '../../store/events.js';
import { loadRoomByNid } from '../../store/rooms.js';
import type { Endpoint } from '../endpoint.js';
import { ok } from '../endpoint.js';
import { authenticated } from './authenticate.js';
import type { FederationContext } from './federation-context.js';
import { acceptedEvent, eventIdOf } from './room-access.js';
import { checkServerMayAsk } from './sent-events.js';
import { visiblePdus } from './visible-events.js';

export function event(context: FederationContext): Endpoint {
  const { server } = context;
  return authenticated(context, {
    method: 'GET',
    path: '/_matrix/federation/v1/event/{eventId}',
    answer: async ({ params, origin }) => {
      const eventId = eventIdOf(params.eventId, 'eventId');
      const nid = eventNidOf(server.store, eventId);
      const record = nid === undefined ? undefined : loadRecord(server.store, nid);
      const room = record === undefined ? undefined : loadRoomByNid(server.store, record.roomNid);
      if (room === undefined)
        throw new MatrixError(404, 'M_NOT_FOUND', `this server does not have the event ${eventId}`);
      await checkServerMayAsk(server, room, origin, [eventId]);
      const accepted = acceptedEvent(server.store, room, eventId);
      const pdus = await visiblePdus(server, room, origin, [accepted], false);
      return ok({ origin: server.serverName, origin_server_ts: server.clock(), pdus });
    },
  });
}
