/**
 * A standard error of the Matrix APIs: HTTP status, `errcode`, words, and extra fields of the body.
 * Thrown by what refuses a request, answered by http/; also what a remote server's refusal becomes.
 * Specification v1.19, client-server API, "Standard error response".
 */

import type { JsonObject } from './json.js';

export class MatrixError extends Error {
  readonly status: number;
  readonly errcode: string;
  /** Further members of the error body, such as `room_version` or `retry_after_ms`. */
  readonly extra: JsonObject;

  constructor(status: number, errcode: string, message: string, extra: JsonObject = {}, options?: ErrorOptions) {
    super(message, options);
    this.name = 'MatrixError';
    this.status = status;
    this.errcode = errcode;
    this.extra = extra;
  }

  /** The response body. */
  toBody(): JsonObject {
    return { ...this.extra, errcode: this.errcode, error: this.message };
  }
}
