/**
 * Sending a message event; the same transaction ID of the same device on the same path is the same event, also while the
 * first request is still at work. Specification v1.19, client-server API, "Transaction identifiers" and "Sending events to
 * a room".
 */

import { hash } from 'node:crypto';
import type { EventId } from '../../kernel/matrix/ids.js';
import { MatrixError } from '../../kernel/matrix/matrix-error.js';
import { clientTransaction, putClientTransaction } from '../../store/users.js';
import type { Endpoint } from '../endpoint.js';
import { ok } from '../endpoint.js';
import type { ClientContext } from './client-context.js';
import { bodyObject, roomIdParam, roomOfCaller, userEndpoint } from './client-context.js';

export function sendEndpoints(context: ClientContext): readonly Endpoint[] {
  const { store } = context.server;
  /** Sends without an answer yet; as many as there are requests at work. */
  const underWay = new Map<string, Promise<EventId>>();
  return userEndpoint(context, 'PUT', '/rooms/{roomId}/send/{eventType}/{txnId}', async (request, caller) => {
    const { room, membership } = roomOfCaller(context, caller, roomIdParam(request));
    if (membership.membership !== 'join')
      throw new MatrixError(403, 'M_FORBIDDEN', `you are not joined to ${room.roomId}`);
    const { eventType = '', txnId = '' } = request.params;
    // Hashed: clients choose names of any length, keys of the store have a limit.
    const path = hash('sha256', JSON.stringify([room.roomId, eventType, txnId]), 'base64url');
    const earlier = clientTransaction(store, caller, path);
    if (earlier !== undefined) return ok({ event_id: earlier });
    const name = JSON.stringify([caller.userId, caller.deviceId, path]);
    let sending = underWay.get(name);
    if (sending === undefined) {
      const content = bodyObject(request);
      sending = context.rooms
        .send(room.roomId, caller.userId, { type: eventType, stateKey: undefined, content }, (writer, eventId) =>
          putClientTransaction(writer, caller, path, eventId),
        )
        .finally(() => underWay.delete(name));
      underWay.set(name, sending);
    }
    return ok({ event_id: await sending });
  });
}
