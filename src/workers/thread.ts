/**
 * Entry of a worker thread. Every job runs through one function, which hands the store snapshot back whatever happens:
 * a thread sleeps between jobs without event turns, so that nothing else would.
 *
 * An Error would lose its class and fields on the way to the main thread, so jobs return verdicts as values; what is
 * thrown here is a bug and fails the task.
 */

import { workerData } from 'node:worker_threads';
import { move, transferableSymbol, valueSymbol } from 'piscina';
import { openStoreReader } from '../store/open-store.js';
import type { JobInput, JobName, JobOutput } from './jobs.js';
import { jobs, movableOutput } from './jobs.js';
import { expectMovedBuffers } from './v8-flags.js';
import { WorkerContext } from './worker-context.js';

expectMovedBuffers();

const { storePath } = workerData as { readonly storePath: string };
const store = openStoreReader(storePath);
const context = new WorkerContext(store);

function run<Name extends JobName>(name: Name): (input: JobInput<Name>) => JobOutput<Name> {
  return (input) => {
    try {
      const output = jobs[name](input, context);
      return move({ [transferableSymbol]: movableOutput(output), [valueSymbol]: output }) as unknown as JobOutput<Name>;
    } finally {
      store.refresh();
    }
  };
}

export const verifyPdus = run('verifyPdus');
export const checkAuthBatch = run('checkAuthBatch');
export const resolveGroups = run('resolveGroups');
export const findAuthChain = run('findAuthChain');
export const clientEvents = run('clientEvents');
export const warmUp = run('warmUp');
