/**
 * Requests to other servers: discovery, one signed HTTP exchange over a pooled TLS connection, and the answer as JSON or
 * as a stream that is read no faster than it is taken.
 *
 * Time-outs are of waiting (for the first byte, for the next bytes), and one of the whole, so that an answer that drips for
 * ever ends too. Redirects are not followed and compression is not accepted. Whatever goes wrong is a RemoteError; a caller's own abort is thrown as its reason.
 * Specification v1.19, server-server API, "API standards" and "Request Authentication".
 */

import { lookup as dnsLookup, resolveSrv as dnsResolveSrv } from 'node:dns/promises';
import { setMaxListeners } from 'node:events';
import type { Dispatcher } from 'undici';
import { errors } from 'undici';
import { canonicalJson } from '../kernel/matrix/canonical-json.js';
import type { ServerName } from '../kernel/matrix/ids.js';
import type { JsonObject, JsonValue } from '../kernel/matrix/json.js';
import type { SigningKey } from '../kernel/signatures/ed25519.js';
import { xMatrixHeader } from '../kernel/signatures/x-matrix.js';
import { createEndpointPools } from './connections/endpoint-pools.js';
import type { Answer } from './connections/exchange.js';
import { exchange } from './connections/exchange.js';
import { createHttpsGet } from './connections/https-get.js';
import type { RemoteStream } from './connections/read-answer.js';
import { openBody, readAll, readRefusal } from './connections/read-answer.js';
import type { LookupAddresses, TlsSettings } from './connections/tls-connector.js';
import { CONNECT_TIMEOUT_MS, ConnectFailure, createTrust } from './connections/tls-connector.js';
import { createAddressPolicy } from './discovery/address-policy.js';
import type { ResolvedServer, ResolveSrv } from './discovery/discovery.js';
import { createDiscovery, DiscoveryError } from './discovery/discovery.js';
import { createStaticHosts } from './discovery/static-hosts.js';
import type { HttpsGet } from './discovery/well-known.js';
import { createWellKnown } from './discovery/well-known.js';
import { RemoteError } from './remote-error.js';

/** Wait for the first byte of an answer, discovery and connecting included, where the request names none. */
export const FIRST_BYTE_TIMEOUT_MS = 60_000;
/** Wait for the next bytes of an answer, where the request names none. */
export const IDLE_TIMEOUT_MS = 60_000;
/** Longest time of a request and its answer together, where the request names none: a byte a minute is no answer. */
export const TOTAL_TIMEOUT_MS = 5 * 60_000;
/** Largest answer of `requestJson`, where the request names none: room for 100 EDUs and 50 PDUs, or 500 key answers. */
export const JSON_BODY_BYTES_MAX = 10 * 1024 * 1024;

export interface RemoteRequest {
  readonly method: 'GET' | 'PUT' | 'POST';
  /** Percent-encoded, beginning with a slash; no query. */
  readonly path: string;
  /** In the order to send; names may repeat. Not encoded yet. */
  readonly query?: readonly (readonly [name: string, value: string])[] | undefined;
  readonly content?: JsonObject | undefined;
  /** Default true: with an X-Matrix header. */
  readonly signed?: boolean | undefined;
  readonly firstByteTimeoutMs?: number | undefined;
  readonly idleTimeoutMs?: number | undefined;
  readonly totalTimeoutMs?: number | undefined;
  /** For `requestJson`; default JSON_BODY_BYTES_MAX. */
  readonly bodyBytesMax?: number | undefined;
  readonly signal?: AbortSignal | undefined;
}

export type { RemoteStream } from './connections/read-answer.js';

export interface FederationClient {
  /** The JSON body of a 2xx answer. Rejects with RemoteError, or with the signal's reason. */
  requestJson(server: ServerName, request: RemoteRequest): Promise<JsonValue>;
  /** The body of a 2xx answer as it arrives. Rejects, and its body throws, like `requestJson`. */
  requestStream(server: ServerName, request: RemoteRequest): Promise<RemoteStream>;
  /** Ends every request and connection. */
  close(): Promise<void>;
}

export interface FederationClientOptions {
  readonly signingKey: SigningKey;
  /** Server name or `*.suffix` -> `host:port`. */
  readonly hosts: Readonly<Record<string, string>>;
  /** PEM: trust anchors besides Node's own. */
  readonly ca?: string | undefined;
  readonly verifyCertificates: boolean;
  /** CIDRs of special-purpose addresses that may be connected to. */
  readonly allowRanges: readonly string[];
  readonly clock: () => number;
  readonly random?: (() => number) | undefined;
  /** The network, for tests: DNS, and the GET of `.well-known`. */
  readonly lookup?: LookupAddresses | undefined;
  readonly resolveSrv?: ResolveSrv | undefined;
  readonly httpsGet?: HttpsGet | undefined;
  readonly connectTimeoutMs?: number | undefined;
}

/** Path and query as they are sent and signed. */
export function requestUri(request: Pick<RemoteRequest, 'path' | 'query'>): string {
  const { path, query } = request;
  if (query === undefined || query.length === 0) return path;
  return `${path}?${query.map(([name, value]) => `${encodeURIComponent(name)}=${encodeURIComponent(value)}`).join('&')}`;
}

async function resolveSrvRecords(name: string): ReturnType<ResolveSrv> {
  try {
    return await dnsResolveSrv(name);
  } catch (error) {
    const code = (error as NodeJS.ErrnoException).code;
    if (code === 'ENOTFOUND' || code === 'ENODATA') return [];
    throw error;
  }
}

/** Nothing of the request was sent, or it was lost with a connection that the other side closed while it was idle. */
function mayRepeat(error: unknown, method: string): boolean {
  if (error instanceof errors.ClientClosedError) return true;
  return error instanceof errors.SocketError && method !== 'POST';
}

/** `promise`, or a rejection with the signal's reason when that comes first. */
function unlessAborted<T>(promise: Promise<T>, signal: AbortSignal): Promise<T> {
  return new Promise((resolve, reject) => {
    const onAbort = (): void => reject(signal.reason);
    if (signal.aborted) onAbort();
    signal.addEventListener('abort', onAbort, { once: true });
    promise.then(resolve, reject).finally(() => signal.removeEventListener('abort', onAbort));
  });
}

/** What another error than ours means. */
export function remoteErrorOf(error: unknown, server: ServerName): Error {
  if (error instanceof RemoteError) return error;
  if (error instanceof ConnectFailure) return new RemoteError(error.kind, server, error.message, { cause: error });
  const message = error instanceof Error ? error.message : String(error);
  if (error instanceof errors.InvalidArgumentError) return error;
  const malformed = error instanceof errors.HTTPParserError || error instanceof errors.HeadersOverflowError;
  return new RemoteError(malformed ? 'malformed' : 'unreachable', server, message, { cause: error });
}

/** A client with its own connections. Throws on bad `hosts` or `allowRanges`. */
export function createFederationClient(options: FederationClientOptions): FederationClient {
  const { signingKey, clock } = options;
  const random = options.random ?? Math.random;
  const tls: TlsSettings = {
    secureContext: createTrust(options.ca),
    verifyCertificates: options.verifyCertificates,
    policy: createAddressPolicy(options.allowRanges),
    lookup: options.lookup ?? ((hostname) => dnsLookup(hostname, { all: true })),
    connectTimeoutMs: options.connectTimeoutMs ?? CONNECT_TIMEOUT_MS,
  };
  const discovery = createDiscovery({
    hosts: createStaticHosts(options.hosts),
    wellKnown: createWellKnown(options.httpsGet ?? createHttpsGet(tls), clock, random),
    resolveSrv: options.resolveSrv ?? resolveSrvRecords,
    clock,
    random,
  });
  const pools = createEndpointPools(tls);
  const inProgress = new Set<AbortController>();
  let closed = false;

  async function resolve(server: ServerName): Promise<ResolvedServer> {
    try {
      return await discovery.resolve(server);
    } catch (error) {
      if (!(error instanceof DiscoveryError)) throw error;
      throw new RemoteError('unreachable', server, error.message, { cause: error });
    }
  }

  function dispatchOptions(
    server: ServerName,
    request: RemoteRequest,
    hostHeader: string,
  ): Omit<Dispatcher.RequestOptions, 'origin'> {
    const { content, method } = request;
    const uri = requestUri(request);
    const headers: Record<string, string> = {
      host: hostHeader,
      'user-agent': 'Joinery',
      'accept-encoding': 'identity',
    };
    if (request.signed !== false) {
      headers.authorization = xMatrixHeader(
        { method, uri, origin: signingKey.serverName, destination: server, content },
        signingKey,
      );
    }
    if (content === undefined) return { method, path: uri, headers };
    headers['content-type'] = 'application/json';
    return { method, path: uri, headers, body: Buffer.from(canonicalJson(content), 'utf8') };
  }

  async function ask(server: ServerName, request: RemoteRequest, signal: AbortSignal): Promise<Answer> {
    for (let attempt = 1; ; attempt += 1) {
      const resolved = await unlessAborted(resolve(server), signal);
      const pool = await unlessAborted(pools.acquire(resolved), signal);
      try {
        return await exchange(pool, dispatchOptions(server, request, resolved.hostHeader), signal);
      } catch (error) {
        if (closed || signal.aborted || attempt > 1 || !mayRepeat(error, request.method)) throw error;
      }
    }
  }

  /** Sends, waits for the head of the answer, throws on refusals. `finish` must be called when the body is done. */
  async function send(server: ServerName, request: RemoteRequest): Promise<RemoteStream> {
    if (closed) throw new RemoteError('unreachable', server, 'the federation client is closed');
    request.signal?.throwIfAborted();
    const idleTimeoutMs = request.idleTimeoutMs ?? IDLE_TIMEOUT_MS;
    const firstByteMs = request.firstByteTimeoutMs ?? FIRST_BYTE_TIMEOUT_MS;
    const controller = new AbortController();
    const onAbort = (): void => controller.abort(request.signal?.reason);
    const timer = setTimeout(() => {
      controller.abort(new RemoteError('timeout', server, `no answer within ${firstByteMs} ms`));
    }, firstByteMs);
    const totalMs = request.totalTimeoutMs ?? TOTAL_TIMEOUT_MS;
    const wholeTimer = setTimeout(() => {
      controller.abort(new RemoteError('timeout', server, `the answer did not end within ${totalMs} ms`));
    }, totalMs);
    if (request.signal !== undefined) {
      // One signal may stand for hundreds of requests; each takes its listener away when it ends.
      setMaxListeners(0, request.signal);
      request.signal.addEventListener('abort', onAbort, { once: true });
    }
    inProgress.add(controller);
    const finish = (): void => {
      clearTimeout(timer);
      clearTimeout(wholeTimer);
      request.signal?.removeEventListener('abort', onAbort);
      inProgress.delete(controller);
    };
    /** The error to throw: the caller's own abort as it is, everything else as a RemoteError. */
    const failure = (error: unknown): unknown => {
      finish();
      if (request.signal?.aborted === true) return request.signal.reason;
      const reason = controller.signal.aborted ? controller.signal.reason : error;
      return remoteErrorOf(reason, server);
    };
    try {
      const response = await ask(server, request, controller.signal);
      clearTimeout(timer);
      const { statusCode, headers } = response;
      const opened = openBody(server, response, idleTimeoutMs, finish, failure);
      if (statusCode < 200 || statusCode > 299) throw await readRefusal(server, opened, statusCode, headers, clock());
      return opened;
    } catch (error) {
      if (error instanceof ConnectFailure) discovery.forget(server);
      throw failure(error);
    }
  }

  return {
    requestJson: async (server, request) => {
      const opened = await send(server, request);
      const bytesMax = request.bodyBytesMax ?? JSON_BODY_BYTES_MAX;
      const bytes = await readAll(server, opened, bytesMax);
      try {
        return JSON.parse(bytes.toString('utf8')) as JsonValue;
      } catch (error) {
        throw new RemoteError('malformed', server, `the answer to ${request.path} is not JSON`, { cause: error });
      }
    },
    requestStream: (server, request) => send(server, request),
    close: async () => {
      closed = true;
      const reason = new errors.ClientDestroyedError('the federation client is closed');
      for (const controller of inProgress) controller.abort(reason);
      await pools.close();
    },
  };
}
