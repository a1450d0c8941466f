/** Sending a message event; the same transaction ID is the same event. Specification v1.19, client-server API, "Sending events to a room". */

import { MatrixError } from '../../kernel/matrix/matrix-error.js';
import { clientTransaction, putClientTransaction } from '../../store/users.js';
import type { Endpoint } from '../endpoint.js';
import { ok } from '../endpoint.js';
import type { ClientContext } from './client-context.js';
import { bodyObject, roomIdParam, roomOfCaller, userEndpoint } from './client-context.js';

export function sendEndpoints(context: ClientContext): readonly Endpoint[] {
  const { store } = context.server;
  return userEndpoint(context, 'PUT', '/rooms/{roomId}/send/{eventType}/{txnId}', async (request, caller) => {
    const { room, membership } = roomOfCaller(context, caller, roomIdParam(request));
    if (membership.membership !== 'join')
      throw new MatrixError(403, 'M_FORBIDDEN', `you are not joined to ${room.roomId}`);
    const { eventType = '', txnId = '' } = request.params;
    const earlier = clientTransaction(store, caller, txnId);
    if (earlier !== undefined) return ok({ event_id: earlier });
    const content = bodyObject(request);
    const eventId = await context.rooms.send(room.roomId, caller.userId, {
      type: eventType,
      stateKey: undefined,
      content,
    });
    store.write((writer) => putClientTransaction(writer, caller, txnId, eventId));
    return ok({ event_id: eventId });
  });
}
