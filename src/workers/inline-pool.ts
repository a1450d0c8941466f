/**
 * The pool without threads: the same jobs, run on the caller's thread in the next turn, their inputs and outputs through
 * `structuredClone` so that whatever would not survive a thread does not survive here either. For tests and the simulator.
 */

import { setImmediate as nextTurn } from 'node:timers/promises';
import type { StoreReader } from '../store/open-store.js';
import { jobs, movableInput, movableOutput } from './jobs.js';
import type { WorkerPool } from './pool.js';
import { WorkerContext } from './worker-context.js';

/** A pool on the caller's thread. `turn` is awaited before each job; the simulator brings its own. */
export function inlinePool(store: StoreReader, turn: () => Promise<unknown> = () => nextTurn()): WorkerPool {
  const context = new WorkerContext(store);
  let completed = 0;
  let running = 0;
  return {
    run: async (name, input, _lane) => {
      running += 1;
      try {
        await turn();
        const received = structuredClone(input, { transfer: movableInput(name, input) });
        const output = jobs[name](received, context);
        return structuredClone(output, { transfer: movableOutput(output) });
      } finally {
        running -= 1;
        completed += 1;
      }
    },
    stats: () => ({ threads: 0, queued: 0, running, completed }),
    close: async () => {},
  };
}
