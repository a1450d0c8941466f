/**
 * `GET /_matrix/federation/v1/state_ids/{roomId}`: the state before an event and its auth chain, as event IDs, in the order
 * of `/state`. Some 10 MB in a very large room, so streamed too.
 * Specification v1.19, server-server API, "Retrieving events".
 */

import type { Endpoint } from '../endpoint.js';
import { authenticated } from './authenticate.js';
import type { FederationContext } from './federation-context.js';
import { stateAtEvent } from './state-at-event.js';
import { eventIdList, streamAnswer } from './stream-events.js';

export function stateIds(context: FederationContext): Endpoint {
  const { store } = context.server;
  return authenticated(context, {
    method: 'GET',
    path: '/_matrix/federation/v1/state_ids/{roomId}',
    answer: async (request) => {
      const { room, found } = await stateAtEvent(context, request);
      return streamAnswer(store, [
        '{"auth_chain_ids":[',
        await eventIdList(store, room, found.chainNids),
        '],"pdu_ids":[',
        await eventIdList(store, room, found.stateNids),
        ']}',
      ]);
    },
  });
}
