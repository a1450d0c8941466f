/**
 * What happens to one request, from the native callback to the last byte of its answer: wire the abort, copy the head,
 * find the endpoint, bound and read the body, call the endpoint, send. Every refusal and failure ends in one place.
 * Specification v1.19, client-server API, "Standard error response" and "Web Browser Clients".
 */

import type { ApiRequest, ApiResponse, Endpoint, HttpMethod } from '../api/endpoint.js';
import { MatrixError } from '../kernel/matrix/matrix-error.js';
import { crashBeforeAnswer, crashHalfSent, watchesCrashPoints } from '../store/crash/crash-points.js';
import { DiskError } from '../store/folder/store-error.js';
import { corsHeaders, isCrossOriginPath } from './cors.js';
import { type Exchange, openExchange } from './exchange.js';
import {
  BUSY_RETRY_AFTER_MS,
  DISK_RETRY_AFTER_MS,
  type HttpLimits,
  type HttpLog,
  REFUSED_BODY_DRAIN_BYTES_MAX,
} from './limits.js';
import { type BodyBudget, bodyTooLarge, readBody } from './read-body.js';
import type { Route, Router } from './router.js';
import { type AnswerOptions, internalError, sendAnswer, sendError, sendNoContent } from './send-answer.js';
import type { UwsRequest, UwsResponse } from './uws-types.js';

/** What the requests of one listener share. */
export interface ListenerState {
  readonly router: Router;
  readonly limits: HttpLimits;
  readonly log: HttpLog;
  readonly bodyBudget: BodyBudget;
  /** Requests in progress, each until its endpoint has settled and its answer is sent. */
  readonly inFlight: Set<Exchange>;
  /** Set by close(): new requests are refused, and answers close their connections. */
  closing: boolean;
  /** Called when a request has left `inFlight`. */
  onRequestDone: () => void;
}

interface RequestHead {
  readonly method: string;
  readonly path: string;
  readonly rawUri: string;
  readonly query: string;
  readonly headers: ReadonlyMap<string, string>;
}

/** Serves one request. To be called by uWebSockets.js; never throws. */
export function handleRequest(listener: ListenerState, response: UwsResponse, request: UwsRequest): void {
  const exchange = openExchange(response);
  const head = copyHead(request);
  listener.inFlight.add(exchange);
  serve(listener, exchange, head)
    .catch((error: unknown) => answerFailure(listener, exchange, head, error))
    .catch((error: unknown) => {
      // Even the 500 could not be sent: the connection is of no more use.
      listener.log.error({ err: error, method: head.method }, 'http: a failure could not be answered');
      exchange.cut();
    })
    .finally(() => {
      listener.inFlight.delete(exchange);
      listener.onRequestDone();
    });
}

/** Everything of the native request, which dies with the handler's call. Repeated headers are joined by a comma. */
function copyHead(request: UwsRequest): RequestHead {
  const path = request.getUrl();
  const query = request.getQuery();
  const headers = new Map<string, string>();
  request.forEach((name, value) => {
    const former = headers.get(name);
    headers.set(name, former === undefined ? value : `${former}, ${value}`);
  });
  return {
    method: request.getMethod().toUpperCase(),
    path,
    rawUri: query === undefined ? path : `${path}?${query}`,
    query: query ?? '',
    headers,
  };
}

async function serve(listener: ListenerState, exchange: Exchange, head: RequestHead): Promise<void> {
  if (head.method === 'OPTIONS' && isCrossOriginPath(head.path)) {
    return sendNoContent(exchange, corsHeaders(head.path));
  }
  const { endpoint, params } = findRoute(listener, head);
  const reader = readBody(exchange, endpoint.bodyBytesMax, listener.bodyBudget);
  try {
    const body = await orGone(exchange, reader.body);
    if (body === undefined) return;
    const request = apiRequest(exchange, head, endpoint, params, body);
    const answer = await endpoint.handle(request);
    if (watchesCrashPoints()) return await sendWatched(exchange, endpoint, answer, answerOptions(listener, head));
    await sendAnswer(exchange, answer, answerOptions(listener, head));
  } finally {
    reader.release();
  }
}

/** sendAnswer for a test run that ends the process here, see crash-points.ts. */
function sendWatched(
  exchange: Exchange,
  { method, path }: Endpoint,
  answer: ApiResponse,
  options: AnswerOptions,
): Promise<void> {
  crashBeforeAnswer(method, path);
  if (!('chunks' in answer)) return sendAnswer(exchange, answer, options);
  const { chunks, contentLength } = answer;
  async function* watched() {
    let bytes = 0;
    for await (const chunk of chunks) {
      yield chunk;
      bytes += chunk.length;
      if (bytes >= contentLength / 2) crashHalfSent(path);
    }
  }
  return sendAnswer(exchange, { ...answer, chunks: watched() }, options);
}

/** The endpoint, unless the request is refused by its head alone. */
function findRoute(listener: ListenerState, head: RequestHead): Route {
  if (listener.closing) throw busy('This server is shutting down.');
  if (listener.inFlight.size > listener.limits.requestsMax)
    throw busy('This server has too many requests in progress.');
  const route = listener.router.match(head.method, head.path);
  if (statedBodyBytes(head) > route.endpoint.bodyBytesMax) throw bodyTooLarge(route.endpoint.bodyBytesMax);
  return route;
}

function busy(words: string): MatrixError {
  return new MatrixError(503, 'M_UNKNOWN', words, { retry_after_ms: BUSY_RETRY_AFTER_MS });
}

function statedBodyBytes(head: RequestHead): number {
  return Number(head.headers.get('content-length') ?? 0);
}

/** The promise's value, or undefined when the caller hangs up first. */
function orGone<T>(exchange: Exchange, promise: Promise<T>): Promise<T | undefined> {
  return new Promise((resolve, reject) => {
    exchange.signal.addEventListener('abort', () => resolve(undefined), { once: true });
    promise.then(resolve, reject);
  });
}

function apiRequest(
  exchange: Exchange,
  head: RequestHead,
  endpoint: Endpoint,
  params: Readonly<Record<string, string>>,
  body: Buffer,
): ApiRequest {
  const method: HttpMethod = endpoint.method;
  return {
    method,
    rawUri: head.rawUri,
    params,
    query: new URLSearchParams(head.query),
    header: (name) => head.headers.get(name),
    body,
    signal: exchange.signal,
  };
}

function answerOptions(listener: ListenerState, head: RequestHead): AnswerOptions {
  return {
    headers: corsHeaders(head.path),
    withoutBody: head.method === 'HEAD',
    closeConnection: listener.closing,
  };
}

async function answerFailure(
  listener: ListenerState,
  exchange: Exchange,
  head: RequestHead,
  error: unknown,
): Promise<void> {
  if (!(error instanceof MatrixError)) logFailure(listener, exchange, head, error);
  if (!exchange.open) return;
  const answered = errorToAnswer(error);
  const options = answerOptions(listener, head);
  const allow = answered.status === 405 ? { allow: listener.router.methodsAt(head.path).join(', ') } : {};
  await sendError(exchange, answered, {
    ...options,
    headers: { ...options.headers, ...allow },
    closeConnection: options.closeConnection === true || !canDrain(head, answered),
  });
}

function errorToAnswer(error: unknown): MatrixError {
  if (error instanceof MatrixError) return error;
  if (!(error instanceof DiskError)) return internalError();
  // The client is to try again, and its user to know that it is not his fault. Paths are the operator's business.
  const words = 'This server cannot write to its disk now, which may be full: nothing was changed, try again later.';
  return new MatrixError(503, 'M_UNKNOWN', words, { retry_after_ms: DISK_RETRY_AFTER_MS });
}

/** Whether what is left of a refused request's body is little enough to receive and throw away. */
function canDrain(head: RequestHead, error: MatrixError): boolean {
  if (head.headers.has('transfer-encoding')) return error.status !== 413;
  return statedBodyBytes(head) <= REFUSED_BODY_DRAIN_BYTES_MAX;
}

/** Failures that are ours. An endpoint that stopped because its caller hung up did not fail. */
function logFailure(listener: ListenerState, exchange: Exchange, head: RequestHead, error: unknown): void {
  const hungUp = exchange.signal.aborted && error instanceof Error && error.name === 'AbortError';
  if (hungUp) return;
  // The path without its query: that may hold an access token.
  listener.log.error({ err: error, method: head.method, path: head.path }, 'http: a request failed');
}
