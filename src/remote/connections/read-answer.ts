/**
 * The body of an answer: as a stream under an idle time-out, as bounded bytes, or as the Matrix error of a refusal.
 * Everything here comes from the wire; a refusal's body may be anything, whatever its content type says.
 * Specification v1.19, server-server API, "Standard error response".
 */

import type { ServerName } from '../../kernel/matrix/ids.js';
import type { JsonObject } from '../../kernel/matrix/json.js';
import { isJsonObject } from '../../kernel/matrix/json.js';
import { RemoteError } from '../remote-error.js';
import type { Answer } from './exchange.js';

/** Bytes read of a refusal's body: an error object fits many times, an HTML page is cut. */
export const REFUSAL_BYTES_MAX = 64 * 1024;
/** Characters of a refusal's text that go into messages and logs. */
const REFUSAL_CHARS_MAX = 300;

export interface RemoteStream {
  /** Undefined where the server does not say. From the wire: a claim. */
  readonly contentLength: number | undefined;
  /** To be iterated once, soon; not iterating for the idle time-out, or stopping early, closes the connection. */
  readonly body: AsyncIterable<Buffer>;
}

type Headers = Readonly<Record<string, string | string[] | undefined>>;

function singleHeader(headers: Headers, name: string): string | undefined {
  const value = headers[name];
  return Array.isArray(value) ? value[0] : value;
}

function contentLengthOf(headers: Headers): number | undefined {
  const text = singleHeader(headers, 'content-length');
  return text !== undefined && /^[0-9]{1,15}$/.test(text) ? Number(text) : undefined;
}

/**
 * The body under an idle time-out, which runs only while we wait for bytes. `finish` is called once when the body has
 * ended in any way; `failure` makes the error to throw of the one that occurred.
 */
export function openBody(
  server: ServerName,
  answer: Answer,
  idleTimeoutMs: number,
  finish: () => void,
  failure: (error: unknown) => unknown,
): RemoteStream {
  const { body, headers } = answer;
  const encoding = singleHeader(headers, 'content-encoding');
  if (encoding !== undefined && encoding.toLowerCase() !== 'identity') {
    const refusal = `the answer has content-encoding ${encoding}, which we did not accept`;
    body.destroy(new RemoteError('malformed', server, refusal));
    throw new RemoteError('malformed', server, refusal);
  }
  let waiting = true;
  const timer = setTimeout(() => {
    if (!waiting) return;
    body.destroy(new RemoteError('timeout', server, `no bytes for ${idleTimeoutMs} ms`));
    finish();
  }, idleTimeoutMs);
  async function* read(): AsyncGenerator<Buffer> {
    try {
      for (let chunk = await body.next(); chunk !== undefined; chunk = await body.next()) {
        waiting = false;
        yield chunk;
        waiting = true;
        timer.refresh();
      }
    } catch (error) {
      throw failure(error);
    } finally {
      clearTimeout(timer);
      if (!body.ended) body.destroy(new RemoteError('unreachable', server, 'the answer was not read to its end'));
      finish();
    }
  }
  return { contentLength: contentLengthOf(headers), body: read() };
}

/** All bytes of a body. Throws RemoteError `too-large` beyond `bytesMax`. */
export async function readAll(server: ServerName, opened: RemoteStream, bytesMax: number): Promise<Buffer> {
  const chunks: Buffer[] = [];
  let bytes = 0;
  for await (const chunk of opened.body) {
    bytes += chunk.length;
    if (bytes > bytesMax || (opened.contentLength ?? 0) > bytesMax) {
      throw new RemoteError('too-large', server, `the answer has more than ${bytesMax} bytes`);
    }
    chunks.push(chunk);
  }
  return chunks.length === 1 ? (chunks[0] as Buffer) : Buffer.concat(chunks, bytes);
}

async function readSome(opened: RemoteStream, bytesMax: number): Promise<string> {
  const chunks: Buffer[] = [];
  let bytes = 0;
  try {
    for await (const chunk of opened.body) {
      chunks.push(chunk);
      bytes += chunk.length;
      if (bytes >= bytesMax) break;
    }
  } catch (error) {
    // The status is the answer; a body that breaks off does not change it. A caller's abort does.
    if (!(error instanceof RemoteError)) throw error;
  }
  return Buffer.concat(chunks).subarray(0, bytesMax).toString('utf8');
}

/** How long a refusal asks us to wait, in milliseconds: `retry_after_ms`, else Retry-After in seconds or as a date. */
function retryAfterMs(headers: Headers, body: JsonObject, now: number): number | undefined {
  const stated = body.retry_after_ms;
  if (typeof stated === 'number' && stated >= 0) return stated;
  const header = singleHeader(headers, 'retry-after')?.trim();
  if (header === undefined) return undefined;
  if (/^[0-9]{1,9}$/.test(header)) return Number(header) * 1000;
  const at = Date.parse(header);
  return Number.isNaN(at) ? undefined : Math.max(0, at - now);
}

function parseRefusal(text: string): JsonObject {
  try {
    const body: unknown = JSON.parse(text);
    return isJsonObject(body) ? body : {};
  } catch {
    // Plain text or HTML, often labelled JSON: its words are all there is.
    return {};
  }
}

/** The error of an answer that is not 2xx. */
export async function readRefusal(
  server: ServerName,
  opened: RemoteStream,
  status: number,
  headers: Headers,
  now: number,
): Promise<RemoteError> {
  const text = await readSome(opened, REFUSAL_BYTES_MAX);
  const body = parseRefusal(text);
  const words = typeof body.error === 'string' ? body.error : text;
  const errcode = typeof body.errcode === 'string' ? body.errcode : undefined;
  const said = words.slice(0, REFUSAL_CHARS_MAX).trim();
  const message = `answered ${status}${errcode === undefined ? '' : ` ${errcode}`}${said === '' ? '' : `: ${said}`}`;
  return new RemoteError('refused', server, message, {
    status,
    errcode,
    retryAfterMs: retryAfterMs(headers, body, now),
  });
}
