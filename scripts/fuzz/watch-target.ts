/** Runs one target in a thread of its own and watches it: a run that hangs or fills the heap is a failure like any other. */

import { Worker } from 'node:worker_threads';
import type { FuzzThreadData } from './fuzz-thread.js';
import { type FuzzResult, type FuzzTarget, randomOfRun } from './run-target.js';

/** A run that takes longer than this, in milliseconds, hangs. */
export const HANG_MS_MAX = 20_000;
/** How often is looked, in milliseconds. */
const WATCH_MS = 500;
/** Largest heap of the thread, in MiB: corpora, code and RUN_BYTES_MAX with room for garbage. */
export const HEAP_MIB_MAX = 384;

export interface WatchOptions {
  readonly seed: number;
  readonly firstRun: number;
  readonly runs: number;
  readonly ms: number;
  /** Compiled fuzz-thread.ts. */
  readonly threadFile: URL;
  readonly hangMsMax?: number;
}

/** Rejects only when the thread cannot be started. */
export async function watchTarget(target: FuzzTarget, options: WatchOptions): Promise<FuzzResult> {
  const { seed, firstRun, runs, ms, threadFile, hangMsMax = HANG_MS_MAX } = options;
  const shared = new SharedArrayBuffer(4);
  const current = new Int32Array(shared);
  current[0] = firstRun;
  const workerData: FuzzThreadData = {
    target: target.name,
    seed,
    firstRun,
    runs,
    ms,
    current: shared,
  };
  const worker = new Worker(threadFile, { workerData, resourceLimits: { maxOldGenerationSizeMb: HEAP_MIB_MAX } });
  const failed = (reason: string): FuzzResult => {
    const run = Atomics.load(current, 0);
    const input = target.makeInput(randomOfRun(seed, run));
    return { runs: run - firstRun, failure: { target: target.name, seed, run, reason, input } };
  };
  return new Promise((resolve) => {
    let lastRun = -1;
    let since = Date.now();
    const watch = setInterval(() => {
      const run = Atomics.load(current, 0);
      if (run !== lastRun) {
        lastRun = run;
        since = Date.now();
      } else if (Date.now() - since > hangMsMax) {
        void worker.terminate();
        settle(failed(`hangs: more than ${hangMsMax} ms`));
      }
    }, WATCH_MS);
    const settle = (result: FuzzResult) => {
      clearInterval(watch);
      resolve(result);
    };
    worker.once('message', ({ runs: done, failure }: FuzzResult) => {
      // A Buffer crosses as a Uint8Array.
      settle({ runs: done, failure: failure && { ...failure, input: Buffer.from(failure.input) } });
    });
    worker.once('error', (error) => settle(failed(String(error))));
    worker.once('exit', (code) => settle(failed(`the thread ended with ${code}`)));
  });
}
