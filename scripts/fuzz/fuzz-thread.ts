/** The thread in which one target runs, so that a hang or a full heap ends this thread and not the fuzzer. */

import { parentPort, workerData } from 'node:worker_threads';
import { FUZZ_TARGETS } from './fuzz-targets.js';
import { runTarget } from './run-target.js';

export interface FuzzThreadData {
  readonly target: string;
  readonly seed: number;
  readonly firstRun: number;
  readonly runs: number;
  /** For how long, from when the thread is there. */
  readonly ms: number;
  /** One Int32: the run that is being made. Shared, because a thread that hangs sends nothing. */
  readonly current: SharedArrayBuffer;
}

const { target: name, seed, firstRun, runs, ms, current } = workerData as FuzzThreadData;
const target = FUZZ_TARGETS.find((candidate) => candidate.name === name);
if (target === undefined) throw new Error(`no target ${name}`);
const run = new Int32Array(current);
const endAt = performance.now() + ms;
const result = runTarget(target, {
  seed,
  firstRun,
  runs,
  isOver: () => performance.now() >= endAt,
  onRun: (number) => Atomics.store(run, 0, number),
});
parentPort?.postMessage(result);
