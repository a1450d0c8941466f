/**
 * `GET /_matrix/federation/v1/state/{roomId}`: the state before an event and its auth chain, as events, streamed.
 * Specification v1.19, server-server API, "Retrieving events".
 */

import type { Endpoint } from '../endpoint.js';
import { authenticated } from './authenticate.js';
import type { FederationContext } from './federation-context.js';
import { stateAtEvent } from './state-at-event.js';
import { eventList, streamAnswer } from './stream-events.js';

export function state(context: FederationContext): Endpoint {
  const { store } = context.server;
  return authenticated(context, {
    method: 'GET',
    path: '/_matrix/federation/v1/state/{roomId}',
    answer: async (request) => {
      const { room, found } = await stateAtEvent(context, request);
      return streamAnswer(store, [
        '{"auth_chain":[',
        eventList(store, room, found.chainNids, found.chainBytes),
        '],"pdus":[',
        eventList(store, room, found.stateNids, found.stateBytes),
        ']}',
      ]);
    },
  });
}
