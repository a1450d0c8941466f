/**
 * The pool as a server has it: what concerns a handful of events (a message that one of our users sends, a join, an event
 * that was pushed alone) is done on the caller's thread. On a thread it would wait for the two batches of a resync that are
 * there already, 20 ms and more, for a fifth of a millisecond of work.
 */

import type { StoreReader } from '../store/open-store.js';
import { inlinePool } from './inline-pool.js';
import type { JobInput, JobName } from './jobs.js';
import type { Lane, WorkerPool } from './pool.js';

/** PDUs that are verified here: about 0.15 ms each. */
const NEAR_PDUS_MAX = 2;
/** Events whose authorization is checked here: about 0.05 ms each. */
const NEAR_AUTH_CHECKS_MAX = 4;

/** `pool`, but for handfuls of events, which are read from `store`. */
export function nearPool(pool: WorkerPool, store: StoreReader): WorkerPool {
  const near = inlinePool(store, () => Promise.resolve());
  return {
    run: (name, input, lane) => (isHandful(name, input, lane) ? near : pool).run(name, input, lane),
    stats: () => pool.stats(),
    close: () => pool.close(),
  };
}

function isHandful<Name extends JobName>(name: Name, input: JobInput<Name>, lane: Lane): boolean {
  if (lane !== 'interactive') return false;
  if (name === 'verifyPdus') return (input as JobInput<'verifyPdus'>).batch.offsets.length - 1 <= NEAR_PDUS_MAX;
  return name === 'checkAuthBatch' && (input as JobInput<'checkAuthBatch'>).nids.length <= NEAR_AUTH_CHECKS_MAX;
}
