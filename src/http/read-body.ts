/**
 * Reads a request's body into one Buffer, never more than the endpoint's `bodyBytesMax` and never more for all requests
 * of a listener together than its budget. A GET may carry a body.
 * Specification v1.19, client-server API, "Common error codes" (M_TOO_LARGE).
 */

import { MatrixError } from '../kernel/matrix/matrix-error.js';
import type { Exchange } from './exchange.js';
import { BUSY_RETRY_AFTER_MS } from './limits.js';

/** Bytes that all requests of a listener may hold together. */
export interface BodyBudget {
  bytesHeld: number;
  readonly bytesMax: number;
}

/** A body being read: what it holds of the budget until `release`. */
export interface BodyReader {
  /** Rejects with a MatrixError when the body is refused; never settles when the caller hangs up. */
  readonly body: Promise<Buffer>;
  /** Gives the bytes back to the budget. To be called once, when the request is done with. */
  release(): void;
}

/** 413 as the specification words it. */
export function bodyTooLarge(bodyBytesMax: number): MatrixError {
  return new MatrixError(
    413,
    'M_TOO_LARGE',
    `The body is larger than the ${bodyBytesMax} bytes that this endpoint takes.`,
  );
}

/** Begins to read. Must be called in the native handler's own turn, else the first bytes are lost. */
export function readBody(exchange: Exchange, bodyBytesMax: number, budget: BodyBudget): BodyReader {
  let chunks: Buffer[] = [];
  let bytes = 0;
  let refused = false;
  const body = new Promise<Buffer>((resolve, reject) => {
    const refuse = (error: MatrixError): void => {
      refused = true;
      chunks = [];
      reject(error);
    };
    exchange.response.onData((chunk, isLast) => {
      if (refused) return;
      if (bytes + chunk.byteLength > bodyBytesMax) return refuse(bodyTooLarge(bodyBytesMax));
      if (budget.bytesHeld + chunk.byteLength > budget.bytesMax) return refuse(tooManyBodies());
      bytes += chunk.byteLength;
      budget.bytesHeld += chunk.byteLength;
      // The native chunk is emptied when this callback returns: copy it.
      if (chunk.byteLength > 0) chunks.push(Buffer.from(new Uint8Array(chunk)));
      if (!isLast) return;
      resolve(chunks.length === 1 ? (chunks[0] as Buffer) : Buffer.concat(chunks, bytes));
      chunks = [];
    });
  });
  return {
    body,
    release() {
      budget.bytesHeld -= bytes;
      bytes = 0;
      refused = true;
    },
  };
}

function tooManyBodies(): MatrixError {
  return new MatrixError(503, 'M_UNKNOWN', 'This server holds too many request bodies; try again later.', {
    retry_after_ms: BUSY_RETRY_AFTER_MS,
  });
}
