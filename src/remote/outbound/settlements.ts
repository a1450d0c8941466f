/**
 * What transactions came to, written to the store many at a time: a message to 3,000 servers is 3,000 answers, and must
 * not be 3,000 fsyncs.
 *
 * A crash before the write means that a transaction is sent once more; receivers know it by its ID and its events.
 */

import type { ServerName } from '../../kernel/matrix/ids.js';
import type { Store } from '../../store/open-store.js';
import type { DestinationRow, QueuedEvent } from '../../store/transactions.js';
import { putDestination, removeDestination, removeQueuedEvents } from '../../store/transactions.js';

/** How long answers are gathered before they are written, in milliseconds: a destination's next transaction waits for it. */
export const SETTLE_MS = 20;
/** Rows changed in one transaction of the store: about 10 ms of the main thread. */
export const SETTLED_ROWS_PER_WRITE_MAX = 500;

export interface Settlement {
  readonly destination: ServerName;
  /** To be taken off the queue. */
  readonly done: readonly QueuedEvent[];
  /** The back-off to store, `clear` to remove it, `keep` to leave it as it is. */
  readonly backOff: DestinationRow | 'clear' | 'keep';
}

export interface Settlements {
  /** Resolves when it is stored; rejects when the store fails. */
  add(settlement: Settlement): Promise<void>;
  /** Writes what waits, now. */
  flush(): Promise<void>;
}

interface Waiting {
  readonly settlement: Settlement;
  readonly resolve: () => void;
  readonly reject: (error: unknown) => void;
}

/** Settlements into `store`. */
export function createSettlements(store: Store): Settlements {
  let waiting: Waiting[] = [];
  let timer: NodeJS.Timeout | undefined;

  function takeBatch(): Waiting[] {
    let rows = 0;
    let count = 0;
    while (count < waiting.length) {
      rows += 1 + (waiting[count] as Waiting).settlement.done.length;
      if (count > 0 && rows > SETTLED_ROWS_PER_WRITE_MAX) break;
      count += 1;
    }
    const batch = waiting.slice(0, count);
    waiting = waiting.slice(count);
    return batch;
  }

  async function writeBatch(): Promise<void> {
    const batch = takeBatch();
    try {
      await store.writeInBackground((writer) => {
        for (const { settlement } of batch) {
          const { destination, done, backOff } = settlement;
          removeQueuedEvents(writer, destination, done);
          if (backOff === 'clear') removeDestination(writer, destination);
          else if (backOff !== 'keep') putDestination(writer, destination, backOff);
        }
      });
    } catch (error) {
      for (const { reject } of batch) reject(error);
      return;
    }
    for (const { resolve } of batch) resolve();
  }

  async function onTimer(): Promise<void> {
    await writeBatch();
    timer = waiting.length > 0 ? setTimeout(onTimer, 0) : undefined;
  }

  return {
    add: (settlement) =>
      new Promise((resolve, reject) => {
        waiting.push({ settlement, resolve, reject });
        timer ??= setTimeout(onTimer, SETTLE_MS);
      }),
    flush: async () => {
      clearTimeout(timer);
      timer = undefined;
      while (waiting.length > 0) await writeBatch();
    },
  };
}
