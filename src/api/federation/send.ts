/**
 * `PUT /_matrix/federation/v1/send/{txnId}`: a transaction of another server. Idempotent by (origin, transaction ID), also
 * after a restart; ordered within a room, rooms in parallel; durable before the answer. EDUs are counted and not yet read.
 * Specification v1.19, server-server API, "Transactions".
 */

import { LRUCache } from 'lru-cache';
import type { EventId, RoomId, ServerName } from '../../kernel/matrix/ids.js';
import { parseRoomId } from '../../kernel/matrix/ids.js';
import type { JsonObject } from '../../kernel/matrix/json.js';
import { MatrixError } from '../../kernel/matrix/matrix-error.js';
import { namesOfPdu } from '../../room/intake/name-pdu.js';
import { inboundTransaction, putInboundTransaction } from '../../store/transactions.js';
import type { Endpoint } from '../endpoint.js';
import { ok } from '../endpoint.js';
import { authenticated } from './authenticate.js';
import type { FederationContext } from './federation-context.js';
import type { TransactionPdu } from './transaction-pdus.js';
import { transactionPdus } from './transaction-pdus.js';

/** Largest transaction in bytes: 50 PDUs of 64 KiB and 100 EDUs, with room for escapes. */
const TRANSACTION_BYTES_MAX = 10 * 1024 * 1024;
/**
 * How often a transaction is refused because its origin could not be asked for what an event rests on, as where it is started
 * again in the middle. One that we can never reach would have its transactions wait for good.
 */
export const REFUSED_TIMES_MAX = 2;
/** Refused transactions that are remembered, to count; of one that is forgotten the count begins anew. */
const REFUSED_KEPT_MAX = 1_000;
/** When a refused one is to come again, in milliseconds. */
const REFUSED_RETRY_MS = 5_000;
/** Longest transaction ID in characters: it is part of a key of the store. */
const TXN_ID_CHARS_MAX = 255;

export function send(context: FederationContext): Endpoint {
  const { store } = context.server;
  /** Transactions that are being taken in: a repetition waits for the first one's answer. */
  const running = new Map<string, Promise<JsonObject>>();
  const refused = new LRUCache<string, number>({ max: REFUSED_KEPT_MAX });
  return authenticated(context, {
    method: 'PUT',
    path: '/_matrix/federation/v1/send/{txnId}',
    bodyBytesMax: TRANSACTION_BYTES_MAX,
    answer: async ({ params, origin, content, body }) => {
      const txnId = params.txnId ?? '';
      if (txnId.length > TXN_ID_CHARS_MAX) {
        throw new MatrixError(400, 'M_INVALID_PARAM', `txnId is longer than ${TXN_ID_CHARS_MAX} characters`);
      }
      const pdus = transactionPdus(content, body);
      const answered = inboundTransaction(store, origin, txnId);
      if (answered !== undefined) return ok({ pdus: answered });
      const key = `${origin} ${txnId}`;
      const first = running.get(key);
      if (first !== undefined) return ok({ pdus: await first });
      const mayRefuse = (): boolean => {
        const times = (refused.get(key) ?? 0) + 1;
        refused.set(key, times);
        return times <= REFUSED_TIMES_MAX;
      };
      const taken = takeIn(context, origin, txnId, pdus, mayRefuse).finally(() => running.delete(key));
      running.set(key, taken);
      return ok({ pdus: await taken });
    },
  });
}

/**
 * Takes in a transaction and stores its answer. A room that cannot take any now fails it whole, to be sent again; so does, if
 * it may, an event that rests on what the origin could not be asked for.
 */
async function takeIn(
  { server, options }: FederationContext,
  origin: ServerName,
  txnId: string,
  pdus: readonly TransactionPdu[],
  mayRefuse: () => boolean,
): Promise<JsonObject> {
  const answers: [EventId, JsonObject][] = [];
  const pdusByRoom = new Map<RoomId, Buffer[]>();
  let unusable = 0;
  for (const { json, bytes } of pdus) {
    const roomId = parseRoomId(json.room_id);
    if (roomId === undefined || bytes === undefined) {
      const error = bytes === undefined ? 'it is larger than any event' : 'room_id is not a room ID';
      for (const name of namesOfPdu(json)) answers.push([name, { error }]);
      unusable += 1;
      continue;
    }
    const ofRoom = pdusByRoom.get(roomId) ?? [];
    pdusByRoom.set(roomId, ofRoom);
    ofRoom.push(bytes);
  }
  if (unusable > 0) {
    const [[event, { error }] = [undefined, {} as JsonObject]] = answers;
    server.log.warn({ origin, events: unusable, event, error }, 'pushed events are of no room');
  }
  const settled = await Promise.allSettled(
    [...pdusByRoom].map(([roomId, ofRoom]) => options.receivePdus(origin, roomId, ofRoom)),
  );
  const passing: EventId[] = [];
  for (const result of settled) {
    if (result.status === 'rejected') throw result.reason;
    for (const [eventId, { error, mayPass }] of result.value) {
      answers.push([eventId, error === undefined ? {} : { error }]);
      if (mayPass === true) passing.push(eventId);
    }
  }
  if (passing.length > 0 && mayRefuse()) {
    const [first] = passing;
    const others = passing.length === 1 ? '' : ` and ${passing.length - 1} others`;
    const what = `${origin} could not be asked for what ${first}${others} rests on; send it again`;
    throw new MatrixError(503, 'M_UNKNOWN', what, { retry_after_ms: REFUSED_RETRY_MS });
  }
  const answer = Object.fromEntries(answers);
  server.store.write((writer) => putInboundTransaction(writer, origin, txnId, answer));
  return answer;
}
