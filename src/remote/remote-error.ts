/**
 * Why a request to another server came to nothing, as one error type whose `kind` the caller can decide by: ask
 * another server, ask this one later, or give up.
 */

import type { ServerName } from '../kernel/matrix/ids.js';

export type RemoteErrorKind =
  /** It answered, and not with 2xx: `status` is set, `errcode` where the body had one. */
  | 'refused'
  /** No connection, no valid certificate, or the connection ended before the answer did. */
  | 'unreachable'
  /** Connecting, the first byte, or the next bytes took too long. */
  | 'timeout'
  /** It answered 2xx with something that is not the answer. */
  | 'malformed'
  /** It resolves only to addresses that we do not talk to; `allow_ranges` would permit them. */
  | 'address-refused'
  /** The answer is larger than the caller takes. */
  | 'too-large';

export interface RemoteErrorDetails {
  readonly status?: number | undefined;
  readonly errcode?: string | undefined;
  readonly retryAfterMs?: number | undefined;
  readonly cause?: unknown;
}

export class RemoteError extends Error {
  override readonly name = 'RemoteError';
  readonly kind: RemoteErrorKind;
  readonly server: ServerName;
  /** HTTP status of a refusal. */
  readonly status: number | undefined;
  /** From the wire: any string. Undefined where the body was not a Matrix error. */
  readonly errcode: string | undefined;
  /** How long the other side asks us to wait; from the wire, so bound it. */
  readonly retryAfterMs: number | undefined;

  constructor(kind: RemoteErrorKind, server: ServerName, message: string, details: RemoteErrorDetails = {}) {
    super(`${server}: ${message}`, details.cause === undefined ? undefined : { cause: details.cause });
    this.kind = kind;
    this.server = server;
    this.status = details.status;
    this.errcode = details.errcode;
    this.retryAfterMs = details.retryAfterMs;
  }
}

/** Whether the same request may be answered in a while. */
export function isPassing({ kind, status = 0 }: RemoteError): boolean {
  return kind === 'unreachable' || kind === 'timeout' || status === 429 || status >= 500;
}
