/**
 * Sends a body of known length piece by piece at the reader's speed.
 *
 * Small chunks are gathered into pieces, and the next chunk is pulled only when the piece before was accepted, so memory
 * stays bounded whatever the length. The last piece is held back until the producer has finished, so that a producer
 * whose length is wrong never looks like a complete answer.
 *
 * Each piece is one `tryEnd` with the stated length in one `cork`, and fits into uWebSockets.js's cork buffer. Pieces of
 * 128 KiB inside of `cork` made 3 of 60 TLS answers to slow readers stall (uWebSockets.js 20.30, which with `write` even
 * corrupts them: uNetworking/uWebSockets.js#1005); outside of `cork` each prints a warning to the standard error.
 */

import type { Exchange } from './exchange.js';
import { BURST_BYTES_MAX, PIECE_BYTES } from './limits.js';

type Chunks = AsyncIterable<Uint8Array> | Iterable<Uint8Array>;

/** The producer failed or lied about its length after the head was sent: the connection has been closed. */
export class BrokenAnswerError extends Error {
  override readonly name = 'BrokenAnswerError';
}

function turnOfEventLoop(): Promise<void> {
  return new Promise((resolve) => {
    setImmediate(resolve);
  });
}

function iteratorOf(chunks: Chunks): AsyncIterator<Uint8Array> | Iterator<Uint8Array> {
  return Symbol.asyncIterator in chunks ? chunks[Symbol.asyncIterator]() : chunks[Symbol.iterator]();
}

/**
 * Sends the head, then exactly `contentLength` bytes of `chunks`. Resolves when all were accepted, or the caller is gone
 * (then the iterator's `return` has been called).
 *
 * @throws BrokenAnswerError when the answer had begun and cannot be completed; the connection is then closed
 * @throws what the producer throws before the first byte was sent: another answer can be given
 */
export async function streamBody(
  exchange: Exchange,
  writeHead: () => void,
  contentLength: number,
  chunks: Chunks,
): Promise<void> {
  // The handler's microtasks run inside of the native callback, whose cork buffer is in use; a turn later it is empty.
  await turnOfEventLoop();
  const sender = new PieceSender(exchange, writeHead, contentLength);
  const iterator = iteratorOf(chunks);
  let done = false;
  // An iterator that ended or threw is not told to return; one that is left half way is.
  let leftHalfWay = false;
  try {
    while (exchange.open && !done) {
      leftHalfWay = false;
      const next = iterator.next();
      const step = next instanceof Promise ? await next : next;
      done = step.done === true;
      if (step.done === true) break;
      leftHalfWay = true;
      await sender.take(step.value);
    }
    if (done) await sender.finish();
  } catch (cause) {
    if (!sender.begun) throw cause;
    exchange.cut();
    const words = cause instanceof Error ? cause.message : String(cause);
    throw new BrokenAnswerError(`An answer of ${contentLength} bytes broke off: ${words}`, { cause });
  } finally {
    if (leftHalfWay && !done) await iterator.return?.();
  }
}

/** A producer whose chunks do not add up to the stated length: a bug of the endpoint. */
class LengthError extends Error {
  override readonly name = 'LengthError';
}

class PieceSender {
  readonly #exchange: Exchange;
  readonly #writeHead: () => void;
  readonly #contentLength: number;
  readonly #piece: Buffer;
  #used = 0;
  #taken = 0;
  #burst = 0;
  begun = false;

  constructor(exchange: Exchange, writeHead: () => void, contentLength: number) {
    this.#exchange = exchange;
    this.#writeHead = writeHead;
    this.#contentLength = contentLength;
    this.#piece = Buffer.allocUnsafe(Math.min(PIECE_BYTES, Math.max(contentLength, 1)));
  }

  /** Takes one chunk; resolves when no more than one piece of it is left to send. */
  async take(chunk: Uint8Array): Promise<void> {
    this.#taken += chunk.length;
    if (this.#taken > this.#contentLength) {
      throw new LengthError(`assertion failed: the producer yields more than the ${this.#contentLength} bytes stated`);
    }
    let at = 0;
    while (at < chunk.length) {
      if (this.#used === this.#piece.length) await this.#send();
      if (!this.#exchange.open) return;
      const count = Math.min(chunk.length - at, this.#piece.length - this.#used);
      this.#piece.set(chunk.subarray(at, at + count), this.#used);
      this.#used += count;
      at += count;
    }
  }

  /** Sends what is held back. */
  async finish(): Promise<void> {
    if (this.#taken !== this.#contentLength) {
      throw new LengthError(
        `assertion failed: the producer yielded ${this.#taken} of the ${this.#contentLength} bytes stated`,
      );
    }
    if (this.#exchange.open) await this.#send();
  }

  /** Sends the piece; resolves when the socket has accepted all of it, or the caller is gone. */
  async #send(): Promise<void> {
    if (!this.#exchange.open) return;
    this.#begin();
    const start = this.#exchange.response.getWriteOffset();
    let rest = this.#piece.subarray(0, this.#used);
    for (;;) {
      const [accepted, complete] = this.#tryEnd(rest);
      if (complete) this.#exchange.markAnswered();
      if (accepted || complete) break;
      this.#burst = 0;
      await this.#exchange.whenWritable();
      if (!this.#exchange.open) return;
      rest = this.#piece.subarray(this.#exchange.response.getWriteOffset() - start, this.#used);
      if (rest.length === 0) break;
    }
    this.#burst += this.#used;
    this.#used = 0;
    if (this.#burst < BURST_BYTES_MAX || !this.#exchange.open) return;
    this.#burst = 0;
    await turnOfEventLoop();
  }

  #tryEnd(rest: Uint8Array): readonly [boolean, boolean] {
    let outcome: readonly [boolean, boolean] = [false, false];
    this.#exchange.response.cork(() => {
      outcome = this.#exchange.response.tryEnd(rest, this.#contentLength);
    });
    return outcome;
  }

  #begin(): void {
    if (this.begun) return;
    this.begun = true;
    this.#exchange.listenForWritable();
    this.#exchange.response.cork(() => this.#writeHead());
  }
}
