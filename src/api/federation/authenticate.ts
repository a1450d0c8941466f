/**
 * Authenticates the server that makes a request: X-Matrix header, its key, the signature over method, raw URI, both names
 * and the body. What comes behind this wrapper knows who asks; an `origin` in a body is never believed.
 * Specification v1.19, server-server API, "Request Authentication".
 */

import { CanonicalJsonError, canonicalJson } from '../../kernel/matrix/canonical-json.js';
import type { ServerName } from '../../kernel/matrix/ids.js';
import type { JsonValue } from '../../kernel/matrix/json.js';
import { MatrixError } from '../../kernel/matrix/matrix-error.js';
import { exactJsonObject } from '../../kernel/matrix/old-versions/exact-numbers.js';
import { parseJson } from '../../kernel/matrix/parse-json.js';
import { verify } from '../../kernel/signatures/ed25519.js';
import type { SignedRequest } from '../../kernel/signatures/x-matrix.js';
import { parseXMatrix, verifyXMatrix } from '../../kernel/signatures/x-matrix.js';
import type { ApiRequest, ApiResponse, Endpoint } from '../endpoint.js';
import { SMALL_BODY_BYTES_MAX } from '../endpoint.js';
import type { RatePolicy } from '../rate-limit.js';
import type { FederationContext } from './federation-context.js';

/**
 * Requests of one origin: the burst is what a server asks for after an outage or in a resynchronisation, event by event;
 * the rate is some 5 % of the main thread, of which checking the caller's signature is the larger part.
 */
export const ORIGIN_RATE: RatePolicy = { burst: 1000, perSecond: 200 };
/** Origins whose rate is remembered; each has proved its name. */
export const ORIGINS_LIMITED_MAX = 10_000;
/** What a caller above its rate is asked to wait, in milliseconds: time for some 200 requests. */
export const RETRY_AFTER_MS = 1000;

/** A request whose caller has proved its name. */
export interface FederationRequest extends ApiRequest {
  readonly origin: ServerName;
  /** The parsed body; undefined when there was none. */
  readonly content: JsonValue | undefined;
}

export interface FederationEndpoint extends Pick<Endpoint, 'method' | 'path'> {
  readonly bodyBytesMax?: number;
  answer(request: FederationRequest): Promise<ApiResponse>;
}

/** The endpoint behind X-Matrix authentication. */
export function authenticated(context: FederationContext, endpoint: FederationEndpoint): Endpoint {
  return {
    method: endpoint.method,
    path: endpoint.path,
    bodyBytesMax: endpoint.bodyBytesMax ?? SMALL_BODY_BYTES_MAX,
    handle: async (request) => {
      const caller = await authenticate(context, request);
      checkRate(context, caller.origin);
      context.options.onCaller(caller.origin);
      return endpoint.answer({
        method: request.method,
        rawUri: request.rawUri,
        params: request.params,
        query: request.query,
        header: (name) => request.header(name),
        body: request.body,
        signal: request.signal,
        ...caller,
      });
    },
  };
}

/** After the signature: nobody uses up another server's share. */
function checkRate({ server, callers }: FederationContext, origin: ServerName): void {
  if (callers.take(origin, server.clock())) return;
  const extra = { retry_after_ms: RETRY_AFTER_MS };
  throw new MatrixError(429, 'M_LIMIT_EXCEEDED', `${origin} asks too often: wait a second`, extra);
}

function unauthorized(reason: string): MatrixError {
  return new MatrixError(401, 'M_UNAUTHORIZED', reason);
}

/** Who asks, and the body. Throws MatrixError 401, or 400 when the body is not JSON. */
export async function authenticate(
  { server }: FederationContext,
  request: ApiRequest,
): Promise<Pick<FederationRequest, 'origin' | 'content'>> {
  const header = request.header('authorization');
  if (header === undefined) throw unauthorized('Authorization: an X-Matrix header is missing');
  const parsed = parseXMatrix(header);
  if (parsed === undefined) throw unauthorized('Authorization: not an X-Matrix header with origin, key and sig');
  const { origin, destination, keyId, signature } = parsed;
  if (destination !== undefined && destination !== server.serverName) {
    throw unauthorized(`Authorization: the request is for ${destination}, this is ${server.serverName}`);
  }
  const key = await server.keys.keyForRequest(origin, keyId);
  if (key === undefined) throw unauthorized(`Authorization: no valid key ${keyId} of ${origin} is to be had`);
  const content = parseBody(request.body);
  const signed = { method: request.method, uri: request.rawUri, origin, destination: server.serverName, content };
  if (!verifies(signed, request.body, signature, Buffer.from(key.publicKey))) {
    throw unauthorized(`Authorization: the signature of ${origin} with ${keyId} is wrong`);
  }
  return { origin, content };
}

function parseBody(body: Buffer): JsonValue | undefined {
  if (body.length === 0) return undefined;
  const parsed = parseJson(body.toString('utf8'), false);
  if (parsed.ok) return parsed.value;
  throw new MatrixError(400, parsed.code === 'not-json' ? 'M_NOT_JSON' : 'M_BAD_JSON', `the body: ${parsed.reason}`);
}

function verifies(signed: SignedRequest, body: Buffer, signature: string, publicKey: Buffer): boolean {
  // Events of room versions 1 to 5 may hold numbers that parsing changes: the signature is over what was sent.
  const exact = body.length === 0 ? undefined : exactJsonObject(body.toString('utf8'));
  try {
    if (exact === undefined) return verifyXMatrix(signed, signature, publicKey);
    if (verifyXMatrix({ ...signed, content: exact }, signature, publicKey, false)) return true;
  } catch (error) {
    if (!(error instanceof CanonicalJsonError)) throw error;
    throw new MatrixError(400, 'M_BAD_JSON', `the body has no canonical form: ${error.message}`);
  }
  return verify(bytesAsSent(signed, body), signature, publicKey);
}

/** What the signature covers where the body, as it was sent, is what its server takes for the canonical form of a float. */
function bytesAsSent({ method, uri, origin, destination }: SignedRequest, body: Buffer): Buffer {
  // `content` comes before the other keys, so that their object follows it but for its brace.
  const others = canonicalJson({ method, uri, origin, destination }).slice(1);
  return Buffer.concat([Buffer.from('{"content":'), body, Buffer.from(`,${others}`)]);
}
