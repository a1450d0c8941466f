/**
 * Limits of the HTTP server, each with its unit and reason, and the log it writes to.
 *
 * Not here because uWebSockets.js owns them: the size of a request's head, 10 s for an idle connection or a reader that
 * takes nothing, and a lowest rate for a body that arrives.
 */

export interface HttpLimits {
  /** Requests in progress per listener; the next one is answered 503. */
  readonly requestsMax: number;
  /** Bytes of request bodies held at one time per listener; the request that goes beyond is answered 503. */
  readonly bodyBytesTotalMax: number;
}

export const HTTP_LIMITS: HttpLimits = {
  /** A /sync that waits is a request in progress, so this bounds the clients that are connected at one time. */
  requestsMax: 4_096,
  /** Each endpoint bounds its own body; this bounds them together, for a server of 1 GiB memory. */
  bodyBytesTotalMax: 256 * 1024 * 1024,
};

/** What a 503 at `requestsMax` or `bodyBytesTotalMax` asks its caller to wait: long enough for a burst to pass. */
export const BUSY_RETRY_AFTER_MS = 2_000;

/** The same where the disk is full: somebody must make room first. */
export const DISK_RETRY_AFTER_MS = 30_000;

/**
 * A refused request's body up to this size is received and thrown away, so that the caller can read the answer and use
 * the connection again. Beyond it the connection is closed after the answer.
 */
export const REFUSED_BODY_DRAIN_BYTES_MAX = 1024 * 1024;

/** Bytes given to the socket at one time: with 1 KiB for the head they fit uWebSockets.js's 16 KiB cork buffer. */
export const PIECE_BYTES = 15 * 1024;

/** Larger answers go out piece by piece at the reader's speed, so that no whole copy waits in native memory. */
export const INLINE_ANSWER_BYTES_MAX = PIECE_BYTES;

/** After so many bytes that a fast reader took without a pause the event loop turns once: 5 ms at 200 MB/s. */
export const BURST_BYTES_MAX = 1024 * 1024;

/** The two methods of pino that this folder calls. */
export interface HttpLog {
  error(fields: Readonly<Record<string, unknown>>, message: string): void;
  warn(fields: Readonly<Record<string, unknown>>, message: string): void;
}
