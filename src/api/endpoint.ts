/**
 * An endpoint as data: method, path template, how its caller is authenticated, and a function from request to
 * response. api/ declares endpoints, http/ serves them; neither knows the other's library.
 */

import type { JsonValue } from '../kernel/matrix/json.js';

export type HttpMethod = 'GET' | 'PUT' | 'POST' | 'DELETE';

/** One request, its body already read (bounded by the endpoint's `bodyBytesMax`). */
export interface ApiRequest {
  readonly method: HttpMethod;
  /** Path and query exactly as received: what an X-Matrix signature covers. */
  readonly rawUri: string;
  /** Values of the path template's `{names}`, percent-decoded. */
  readonly params: Readonly<Record<string, string>>;
  readonly query: URLSearchParams;
  /** A header's value; `name` in lower case. */
  header(name: string): string | undefined;
  /** Empty when the request had none. */
  readonly body: Buffer;
  /** Aborted when the caller hangs up. */
  readonly signal: AbortSignal;
}

/** A JSON answer, bytes as they are, or a large body of known length that is produced piece by piece. */
export type ApiResponse =
  | { readonly status: number; readonly json: JsonValue; readonly headers?: Readonly<Record<string, string>> }
  | { readonly status: number; readonly bytes: Uint8Array; readonly contentType: string }
  | {
      readonly status: number;
      readonly contentType: string;
      /** Exact number of bytes that `chunks` yields; the answer states it as Content-Length. */
      readonly contentLength: number;
      readonly chunks: AsyncIterable<Uint8Array> | Iterable<Uint8Array>;
    };

export interface Endpoint {
  readonly method: HttpMethod;
  /** Such as `/_matrix/federation/v1/event/{eventId}`; a name matches one path segment. */
  readonly path: string;
  /** Largest accepted body in bytes; a larger one is answered 413 M_TOO_LARGE. */
  readonly bodyBytesMax: number;
  /** Errors: a MatrixError becomes its status and body; anything else is logged and answered 500 M_UNKNOWN. */
  handle(request: ApiRequest): Promise<ApiResponse>;
}

/** Body limit for endpoints that take none, or a small one. */
export const SMALL_BODY_BYTES_MAX = 64 * 1024;

/** An answer of up to this size is sent in one piece: copying it costs less than its pieces would. */
const ONE_PIECE_BYTES_MAX = 16 * 1024;

/** `200` with a JSON body that is there in pieces. */
export function jsonChunks(chunks: readonly Uint8Array[]): ApiResponse {
  const contentLength = chunks.reduce((sum, chunk) => sum + chunk.length, 0);
  if (contentLength <= ONE_PIECE_BYTES_MAX) {
    return { status: 200, contentType: 'application/json', bytes: Buffer.concat(chunks) };
  }
  return { status: 200, contentType: 'application/json', contentLength, chunks };
}

/** `200` with a JSON body. */
export function ok(json: JsonValue): ApiResponse {
  return { status: 200, json };
}
