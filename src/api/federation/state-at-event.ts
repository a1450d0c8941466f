/**
 * The state before an event as another server may ask for it, for `/state` and `/state_ids`: the same checks, the same
 * lists in the same order. A state that is partial never leaves us, whoever asks.
 * Specification v1.19, server-server API, "Retrieving events"; MSC3895.
 */

import { MatrixError } from '../../kernel/matrix/matrix-error.js';
import type { Room } from '../../store/rooms.js';
import { isPartialStateEvent } from '../../store/rooms.js';
import { eventContext } from '../../store/timeline.js';
import type { FindAuthChainOutput } from '../../workers/jobs/find-auth-chain.js';
import type { FederationRequest } from './authenticate.js';
import type { FederationContext } from './federation-context.js';
import {
  acceptedEvent,
  checkServerAcl,
  checkServerInRoom,
  eventIdOf,
  isPartial,
  knownRoom,
  roomIdOf,
  unableDueToPartialState,
} from './room-access.js';

export interface StateAtEvent {
  readonly room: Room;
  readonly found: FindAuthChainOutput;
}

/** The state before the event that the request names. Throws MatrixError. */
export async function stateAtEvent(context: FederationContext, request: FederationRequest): Promise<StateAtEvent> {
  const { store } = context.server;
  const room = knownRoom(store, roomIdOf(request.params.roomId));
  const eventId = eventIdOf(request.query.get('event_id'), 'event_id');
  checkServerAcl(store, room, request.origin);
  // In a room with full state, strangers learn nothing of its events.
  if (!isPartial(room)) checkServerInRoom(store, room, request.origin);
  const nid = acceptedEvent(store, room, eventId);
  if (isPartialStateEvent(store, room.nid, nid)) throw unableDueToPartialState(room);
  checkServerInRoom(store, room, request.origin);
  const state = eventContext(store, nid);
  if (state === undefined) throw new MatrixError(404, 'M_NOT_FOUND', `this server has no state at ${eventId}`);
  return { room, found: await context.chains.ofState(room, state.before) };
}
