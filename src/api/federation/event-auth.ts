/**
 * `GET /_matrix/federation/v1/event_auth/{roomId}/{eventId}`: the auth chain of an event, streamed.
 * Specification v1.19, server-server API, "Retrieve the complete auth chain for a given event".
 */

import type { Endpoint } from '../endpoint.js';
import { authenticated } from './authenticate.js';
import type { FederationContext } from './federation-context.js';
import { acceptedEvent, checkServerAcl, eventIdOf, knownRoom, roomIdOf } from './room-access.js';
import { checkServerMayAsk } from './sent-events.js';
import { eventList, streamAnswer } from './stream-events.js';

export function eventAuth(context: FederationContext): Endpoint {
  const { store } = context.server;
  return authenticated(context, {
    method: 'GET',
    path: '/_matrix/federation/v1/event_auth/{roomId}/{eventId}',
    answer: async ({ params, origin }) => {
      const room = knownRoom(store, roomIdOf(params.roomId));
      checkServerAcl(store, room, origin);
      const eventId = eventIdOf(params.eventId, 'eventId');
      await checkServerMayAsk(context.server, room, origin, [eventId]);
      const nid = acceptedEvent(store, room, eventId);
      const { chainNids, chainBytes } = await context.chains.ofEvent(room, nid);
      return streamAnswer(store, ['{"auth_chain":[', eventList(store, room, chainNids, chainBytes), ']}']);
    },
  });
}
