/**
 * The output of a tool: a write resolves when the stream has taken it, so that nothing piles up here. A reader that goes
 * away (EPIPE, as with `| head`) is no error: the tool is told that nobody reads on, and ends quietly.
 */

import type { Writable } from 'node:stream';

/** What a stream says when its reader is gone. */
const READER_GONE: ReadonlySet<string> = new Set(['EPIPE', 'ERR_STREAM_DESTROYED', 'ERR_STREAM_WRITE_AFTER_END']);

export class Output {
  readonly #stream: Writable;
  #failure: Error | undefined;

  constructor(stream: Writable) {
    this.#stream = stream;
    // Comes beside the callback of the write that failed, and without a listener would end the process.
    stream.on('error', (error) => {
      this.#failure ??= error;
    });
  }

  /** Writes; false when nobody reads any more. Throws what else went wrong, such as a full disk. */
  async write(data: string | Uint8Array): Promise<boolean> {
    const failure = this.#failure ?? (await this.#attempt(data));
    if (failure === undefined) return true;
    this.#failure = failure;
    if ('code' in failure && READER_GONE.has(String(failure.code))) return false;
    throw new Error(`cannot write the output: ${failure.message}`, { cause: failure });
  }

  #attempt(data: string | Uint8Array): Promise<Error | undefined> {
    return new Promise((resolve) => {
      this.#stream.write(data, (error) => resolve(error ?? undefined));
    });
  }
}
