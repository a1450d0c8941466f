/**
 * JSON requests to a server's client-server and admin APIs, as one user or with the admin token. No time-outs of its
 * own: `/members` answers when the room is complete; the run as a whole has a deadline.
 */

import { Agent, request } from 'undici';

const agent = new Agent({ headersTimeout: 0, bodyTimeout: 0 });

export class ApiError extends Error {
  override readonly name = 'ApiError';
  readonly status: number;
  readonly retryAfterMs: number | undefined;

  constructor(what: string, status: number, text: string, retryAfterMs: number | undefined) {
    super(`${what}: ${status} ${text.slice(0, 500)}`);
    this.status = status;
    this.retryAfterMs = retryAfterMs;
  }
}

export interface ApiAnswer {
  readonly json: unknown;
  /** `performance.now()` when the headers came, and when the body was complete. */
  readonly headersAtMs: number;
  readonly completeAtMs: number;
  readonly bodyBytes: number;
}

export interface Api {
  get(path: string): Promise<ApiAnswer>;
  post(path: string, body: unknown): Promise<ApiAnswer>;
  put(path: string, body: unknown): Promise<ApiAnswer>;
}

/** An API at `url`, with a bearer token. Requests throw ApiError for any status but 2xx. */
export function apiOf(url: string, token?: string): Api {
  const ask = async (method: 'GET' | 'POST' | 'PUT', path: string, body?: unknown): Promise<ApiAnswer> => {
    const answer = await request(`${url}${path}`, {
      method,
      dispatcher: agent,
      headers: {
        ...(token === undefined ? {} : { authorization: `Bearer ${token}` }),
        ...(body === undefined ? {} : { 'content-type': 'application/json' }),
      },
      ...(body === undefined ? {} : { body: JSON.stringify(body) }),
    });
    const headersAtMs = performance.now();
    const bytes = Buffer.from(await answer.body.arrayBuffer());
    const completeAtMs = performance.now();
    const text = bytes.toString('utf8');
    if (answer.statusCode < 200 || answer.statusCode > 299) {
      const retryAfter = Number(answer.headers['retry-after']);
      const retryAfterMs = Number.isFinite(retryAfter) ? retryAfter * 1000 : undefined;
      throw new ApiError(`${method} ${url}${path}`, answer.statusCode, text, retryAfterMs);
    }
    return { json: JSON.parse(text), headersAtMs, completeAtMs, bodyBytes: bytes.length };
  };
  return {
    get: (path) => ask('GET', path),
    post: (path, body) => ask('POST', path, body),
    put: (path, body) => ask('PUT', path, body),
  };
}

/** Closes idle connections, so that the process can end. */
export async function closeConnections(): Promise<void> {
  await agent.destroy();
}
