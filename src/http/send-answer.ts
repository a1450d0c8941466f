/**
 * Writes an endpoint's answer to the socket: small ones at once inside of `cork`, large ones through `streamBody`.
 *
 * Nothing is written before the whole head is known to be good, so a failure up to that point can still become a 500.
 */

import { STATUS_CODES } from 'node:http';
import type { ApiResponse } from '../api/endpoint.js';
import { MatrixError } from '../kernel/matrix/matrix-error.js';
import type { Exchange } from './exchange.js';
import { INLINE_ANSWER_BYTES_MAX } from './limits.js';
import { streamBody } from './stream-body.js';

export interface AnswerOptions {
  /** Headers beside the answer's own, such as the cross-origin ones. */
  readonly headers: Readonly<Record<string, string>>;
  /** The answer to a HEAD has no body. */
  readonly withoutBody?: boolean;
  /** Ask uWebSockets.js to close the connection after the answer. */
  readonly closeConnection?: boolean;
}

/** A character that would end a header line or make the head invalid. */
// biome-ignore lint/suspicious/noControlCharactersInRegex: control characters are what it looks for
const BAD_HEADER_VALUE = /[\u0000-\u0008\u000a-\u001f\u007f]/;

interface Head {
  readonly status: number;
  readonly headers: readonly (readonly [string, string])[];
}

function headOf(status: number, contentType: string, ...sets: readonly Readonly<Record<string, string>>[]): Head {
  const headers: (readonly [string, string])[] = [['content-type', contentType]];
  for (const set of sets) {
    for (const [name, value] of Object.entries(set)) {
      if (!/^[A-Za-z0-9-]+$/.test(name) || BAD_HEADER_VALUE.test(value))
        throw new Error(`Bad response header ${name}.`);
      headers.push([name, value]);
    }
  }
  return { status, headers };
}

function writeHead(exchange: Exchange, head: Head): void {
  exchange.response.writeStatus(`${head.status} ${STATUS_CODES[head.status] ?? 'Unknown'}`);
  for (const [name, value] of head.headers) exchange.response.writeHeader(name, value);
}

function sendInline(exchange: Exchange, head: Head, body: string | Uint8Array, options: AnswerOptions): void {
  const close = options.closeConnection ?? false;
  exchange.response.cork(() => {
    writeHead(exchange, head);
    if (options.withoutBody) exchange.response.endWithoutBody(Buffer.byteLength(body), close);
    else exchange.response.end(body, close);
  });
  exchange.markAnswered();
}

/** Sends an endpoint's answer. Resolves when the last byte has been accepted by the socket or the caller is gone. */
export async function sendAnswer(exchange: Exchange, answer: ApiResponse, options: AnswerOptions): Promise<void> {
  if (!exchange.open) return;
  if ('chunks' in answer) {
    const head = headOf(answer.status, answer.contentType, options.headers);
    return streamBody(exchange, () => writeHead(exchange, head), answer.contentLength, answer.chunks);
  }
  const isJson = 'json' in answer;
  const head = headOf(
    answer.status,
    isJson ? 'application/json' : answer.contentType,
    options.headers,
    (isJson ? answer.headers : undefined) ?? {},
  );
  const body = isJson ? JSON.stringify(answer.json) : answer.bytes;
  if (body.length <= INLINE_ANSWER_BYTES_MAX || options.withoutBody) return sendInline(exchange, head, body, options);
  const bytes = typeof body === 'string' ? Buffer.from(body) : body;
  return streamBody(exchange, () => writeHead(exchange, head), bytes.length, [bytes]);
}

/** Sends a 204 without a body, such as the answer to a preflight. */
export function sendNoContent(exchange: Exchange, headers: Readonly<Record<string, string>>): void {
  if (!exchange.open) return;
  exchange.response.cork(() => {
    exchange.response.writeStatus('204 No Content');
    for (const [name, value] of Object.entries(headers)) exchange.response.writeHeader(name, value);
    exchange.response.endWithoutBody();
  });
  exchange.markAnswered();
}

/** Sends a MatrixError: its status and body, and for 429 and 503 `Retry-After` in whole seconds. */
export async function sendError(exchange: Exchange, error: MatrixError, options: AnswerOptions): Promise<void> {
  const retryAfterMs = error.extra.retry_after_ms;
  const waits = (error.status === 429 || error.status === 503) && typeof retryAfterMs === 'number';
  const headers = waits ? { 'retry-after': String(Math.ceil(retryAfterMs / 1000)) } : {};
  await sendAnswer(exchange, { status: error.status, json: error.toBody(), headers }, options);
}

/** What a caller is told of a failure that is ours: nothing but that it happened. */
export function internalError(): MatrixError {
  return new MatrixError(500, 'M_UNKNOWN', 'Internal server error.');
}
