/**
 * One request over a pool and its answer: the head as a promise, the body as chunks that wait in a bounded queue. Straight
 * on undici's dispatcher, because a Node stream for each answer costs more than the rest of a small request, and a room's
 * state is ten thousand chunks.
 *
 * Back-pressure: beyond a named number of waiting bytes the connection is read no further until the reader has caught up.
 */

import type { Dispatcher, Pool } from 'undici';

/** Waiting bytes from which on the connection is paused: some milliseconds of a fast one. */
export const BODY_WAITING_BYTES_MAX = 512 * 1024;

type Headers = Readonly<Record<string, string | string[] | undefined>>;

export interface Answer {
  readonly statusCode: number;
  readonly headers: Headers;
  readonly body: AnswerBody;
}

/** The chunks of an answer, for one reader. */
export class AnswerBody {
  readonly #controller: Dispatcher.DispatchController;
  readonly #onClosed: () => void;
  readonly #chunks: Buffer[] = [];
  #bytes = 0;
  #ended = false;
  #error: Error | undefined;
  #wake: (() => void) | undefined;

  constructor(controller: Dispatcher.DispatchController, onClosed: () => void) {
    this.#controller = controller;
    this.#onClosed = onClosed;
  }

  /** Whether it is here to its last byte, or over early. */
  get ended(): boolean {
    return this.#ended;
  }

  /** The next chunk; undefined at the end. Throws what ended the body early, at once or when its chunks are read. */
  async next(): Promise<Buffer | undefined> {
    for (;;) {
      const chunk = this.#chunks.shift();
      if (chunk !== undefined) {
        this.#bytes -= chunk.length;
        if (this.#controller.paused && this.#bytes < BODY_WAITING_BYTES_MAX / 2) this.#controller.resume();
        return chunk;
      }
      if (this.#error !== undefined) throw this.#error;
      if (this.#ended) return undefined;
      await new Promise<void>((resolve) => {
        this.#wake = resolve;
      });
    }
  }

  /** Closes the connection unless the body has ended; waiting chunks are gone. */
  destroy(reason: Error): void {
    if (this.#ended) return;
    this.#chunks.length = 0;
    this.fail(reason);
    this.#controller.abort(reason);
  }

  push(chunk: Buffer): void {
    if (this.#ended) return;
    this.#chunks.push(chunk);
    this.#bytes += chunk.length;
    if (this.#bytes >= BODY_WAITING_BYTES_MAX) this.#controller.pause();
    this.#wake?.();
  }

  end(): void {
    if (this.#ended) return;
    this.#ended = true;
    this.#onClosed();
    this.#wake?.();
  }

  fail(error: Error): void {
    if (this.#ended) return;
    this.#error = error;
    this.end();
  }
}

/**
 * Sends a request. Resolves with the head of the answer; rejects with the signal's reason or the connection's error, and
 * so does the body. The signal counts until the body has ended.
 */
export function exchange(
  pool: Pool,
  options: Omit<Dispatcher.RequestOptions, 'origin'>,
  signal: AbortSignal,
): Promise<Answer> {
  return new Promise((resolve, reject) => {
    let controller: Dispatcher.DispatchController | undefined;
    let body: AnswerBody | undefined;
    const closed = (): void => signal.removeEventListener('abort', onAbort);
    const fail = (error: Error): void => {
      closed();
      body?.fail(error);
      reject(error);
    };
    const onAbort = (): void => {
      const reason = signal.reason as Error;
      controller?.abort(reason);
      fail(reason);
    };
    signal.addEventListener('abort', onAbort, { once: true });
    pool.dispatch(options, {
      onRequestStart: (started) => {
        controller = started;
        if (signal.aborted) started.abort(signal.reason as Error);
      },
      onResponseStart: (started, statusCode, headers) => {
        if (statusCode < 200) return;
        body = new AnswerBody(started, closed);
        resolve({ statusCode, headers, body });
      },
      onResponseData: (_controller, chunk) => body?.push(chunk),
      onResponseEnd: () => body?.end(),
      onResponseError: (_controller, error) => fail(error),
    });
  });
}
