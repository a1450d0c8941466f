/**
 * The threads of `joinery verify`: batches go to whichever thread has least to do, answers are taken in the order in which
 * the batches were given. No more batches are under way than `hasRoom` allows, so memory is bounded.
 *
 * Threads of its own rather than the server's pool: that one reads a store, and here is none.
 */

import { Worker } from 'node:worker_threads';
import type { LineBatch } from './line-batches.js';
import type { ThreadAnswer, ThreadData, ThreadTask } from './verify-thread.js';

/** Batches under way for each thread: one that runs, the others so that no thread waits for the slowest. */
const BATCHES_PER_THREAD = 4;
/** Heap limit of a thread in MB: it holds one batch and the keys. */
const THREAD_HEAP_MB_MAX = 512;

interface Thread {
  readonly worker: Worker;
  underWay: number;
}

export class VerifyThreads {
  readonly #data: ThreadData;
  readonly #threadsMax: number;
  readonly #threads: Thread[] = [];
  /** Answers that came before their turn, by number. */
  readonly #answers = new Map<number, ThreadAnswer>();
  #given = 0;
  #taken = 0;
  #failure: Error | undefined;
  #wake: (() => void) | undefined;

  constructor(data: ThreadData, threadsMax: number) {
    this.#data = data;
    this.#threadsMax = threadsMax;
  }

  /** Whether another batch may be given before an answer is taken. */
  get hasRoom(): boolean {
    return this.#given - this.#taken < this.#threadsMax * BATCHES_PER_THREAD;
  }

  /** Whether answers are still to come. */
  get isBusy(): boolean {
    return this.#taken < this.#given;
  }

  /** Gives a batch to a thread; its buffers are moved and empty afterwards. */
  give(batch: LineBatch): void {
    const { firstLine, bytes, offsets } = batch;
    const task: ThreadTask = { number: this.#given, firstLine, bytes, offsets };
    this.#given += 1;
    const thread = this.#idlest();
    thread.underWay += 1;
    thread.worker.postMessage(task, [bytes.buffer, offsets.buffer]);
  }

  /** The answer to the earliest batch that has not been taken. */
  async take(): Promise<ThreadAnswer> {
    for (;;) {
      if (this.#failure !== undefined) throw this.#failure;
      const answer = this.#answers.get(this.#taken);
      if (answer !== undefined) {
        this.#answers.delete(this.#taken);
        this.#taken += 1;
        return answer;
      }
      await new Promise<void>((resolve) => {
        this.#wake = resolve;
      });
    }
  }

  async close(): Promise<void> {
    await Promise.all(this.#threads.map(({ worker }) => worker.terminate()));
  }

  /** The thread with least to do; a new one when every other is busy: a small file needs only one. */
  #idlest(): Thread {
    let found = this.#threads[0];
    for (const thread of this.#threads) {
      if (found === undefined || thread.underWay < found.underWay) found = thread;
    }
    if (found !== undefined && (found.underWay === 0 || this.#threads.length >= this.#threadsMax)) return found;
    return this.#start();
  }

  #start(): Thread {
    const worker = new Worker(new URL('./verify-thread.js', import.meta.url), {
      workerData: this.#data,
      resourceLimits: { maxOldGenerationSizeMb: THREAD_HEAP_MB_MAX },
    });
    const thread: Thread = { worker, underWay: 0 };
    worker.on('message', (answer: ThreadAnswer) => {
      thread.underWay -= 1;
      this.#answers.set(answer.number, answer);
      this.#wake?.();
    });
    worker.on('error', (error) => {
      this.#failure ??= new Error(`a thread failed: ${error.stack ?? error.message}`, { cause: error });
      this.#wake?.();
    });
    this.#threads.push(thread);
    return thread;
  }
}
