/**
 * One transaction to one destination: its ID, its body, and what the answer means for the queue.
 * Specification v1.19, server-server API, "Transactions" and `PUT /_matrix/federation/v1/send/{txnId}`.
 */

import { hash } from 'node:crypto';
import type { ServerName } from '../../kernel/matrix/ids.js';
import type { JsonObject, JsonValue } from '../../kernel/matrix/json.js';
import { isJsonObject } from '../../kernel/matrix/json.js';
import type { FederationClient } from '../federation-client.js';
import { RemoteError } from '../remote-error.js';

/** Wait for the answer, in milliseconds: the other side may check 50 events, and fetch what they rest on, before it answers. */
export const TRANSACTION_TIMEOUT_MS = 60_000;
/** Characters of the content hash in a transaction ID: 72 bits. */
const TXN_HASH_CHARS = 12;

export interface Transaction {
  readonly txnId: string;
  readonly pdus: readonly JsonObject[];
}

export type TransactionOutcome =
  /** It was taken; `refusedPdus` of its PDUs were answered with an error, which is final for them. */
  | { readonly outcome: 'taken'; readonly refusedPdus: number; readonly firstRefusal: string | undefined }
  | { readonly outcome: 'failed'; readonly error: RemoteError };

/**
 * An ID that is the same whenever the same events are sent again. The sequence numbers alone would repeat those of an
 * earlier data folder of this server, and receivers take no second transaction with an ID they know.
 */
export function transactionIdOf(first: number, last: number, pdus: readonly JsonObject[]): string {
  const marks = JSON.stringify(pdus.map(({ hashes, signatures }) => [hashes, signatures]));
  return `${first}-${last}-${hash('sha256', marks, 'base64url').slice(0, TXN_HASH_CHARS)}`;
}

/** The answer to a transaction is words for our log: the PDUs with an `error` are not sent again. */
function readAnswer(answer: JsonValue): TransactionOutcome {
  const results = isJsonObject(answer) && isJsonObject(answer.pdus) ? answer.pdus : {};
  let refusedPdus = 0;
  let firstRefusal: string | undefined;
  for (const eventId in results) {
    const result = results[eventId];
    if (!isJsonObject(result) || result.error === undefined) continue;
    refusedPdus += 1;
    firstRefusal ??= `${eventId}: ${String(result.error).slice(0, 200)}`;
  }
  return { outcome: 'taken', refusedPdus, firstRefusal };
}

/** Sends a transaction once. Rejects only with the signal's reason, or for a bug. */
export async function sendTransaction(
  client: FederationClient,
  origin: ServerName,
  destination: ServerName,
  transaction: Transaction,
  now: number,
  signal: AbortSignal,
): Promise<TransactionOutcome> {
  try {
    const answer = await client.requestJson(destination, {
      method: 'PUT',
      path: `/_matrix/federation/v1/send/${encodeURIComponent(transaction.txnId)}`,
      content: { origin, origin_server_ts: now, pdus: transaction.pdus },
      firstByteTimeoutMs: TRANSACTION_TIMEOUT_MS,
      signal,
    });
    return readAnswer(answer);
  } catch (error) {
    if (error instanceof RemoteError) return { outcome: 'failed', error };
    throw error;
  }
}
