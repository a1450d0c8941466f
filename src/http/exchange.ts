/**
 * One request and its answer, from the native callback on.
 *
 * uWebSockets.js ends the process when a handler returns without a reply or an `onAborted`, and throws when a response
 * is touched after its end. So `openExchange` wires `onAborted` before anything else, and every write asks `open` first.
 */

import type { UwsResponse } from './uws-types.js';

export class Exchange {
  readonly #response: UwsResponse;
  readonly #abort = new AbortController();
  #open = true;
  #wake: (() => void) | undefined;

  constructor(response: UwsResponse) {
    this.#response = response;
    response.onAborted(() => this.#gone());
  }

  /** Neither answered nor gone. */
  get open(): boolean {
    return this.#open;
  }

  /** Aborted when the caller hangs up before the answer is complete. */
  get signal(): AbortSignal {
    return this.#abort.signal;
  }

  /** The native response. Only while `open`. */
  get response(): UwsResponse {
    if (!this.#open) throw new Error('A response was used after its end.');
    return this.#response;
  }

  /** To be called when the native response has been ended. */
  markAnswered(): void {
    this.#open = false;
  }

  /** Resolves when the socket takes bytes again, or the caller is gone. */
  whenWritable(): Promise<void> {
    return new Promise((resolve) => {
      if (!this.#open) return resolve();
      this.#wake = resolve;
    });
  }

  /**
   * Routes the socket's writable events to `whenWritable`. To be called once, before the first `tryEnd`. Wakes up after
   * the native callback has returned, so that what is written next has the cork buffer for itself.
   */
  listenForWritable(): void {
    this.response.onWritable(() => {
      setImmediate(() => this.#wakeUp());
      return true;
    });
  }

  /** Closes the connection without a (further) answer. */
  cut(): void {
    if (!this.#open) return;
    this.#response.close();
    this.#gone();
  }

  #gone(): void {
    if (!this.#open) return;
    this.#open = false;
    this.#abort.abort();
    this.#wakeUp();
  }

  #wakeUp(): void {
    const wake = this.#wake;
    this.#wake = undefined;
    wake?.();
  }
}

/** Takes charge of a native response: the first thing to do with one. */
export function openExchange(response: UwsResponse): Exchange {
  return new Exchange(response);
}
