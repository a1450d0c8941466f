/**
 * What is not worth asking again for a while: a bounded memory of failures with a growing wait, so that a dead server
 * costs one attempt and not one for each event it ever sent.
 */

import { LRUCache } from 'lru-cache';
import type { BackOffPolicy } from '../back-off.js';
import { backOffMs } from '../back-off.js';

export interface Holds {
  /** Whether `key` failed so lately that it is not asked again. */
  held(key: string): boolean;
  failed(key: string): void;
  succeeded(key: string): void;
}

interface Hold {
  readonly failures: number;
  readonly untilTs: number;
}

/** A memory of at most `entriesMax` failures; the longest unasked is forgotten first. */
export function createHolds(
  policy: BackOffPolicy,
  entriesMax: number,
  clock: () => number,
  random: () => number,
): Holds {
  // By size: `max` would set aside room for all of them at once, 20 ms and a megabyte each.
  const holds = new LRUCache<string, Hold>({ maxSize: entriesMax, sizeCalculation: () => 1 });
  return {
    held: (key) => (holds.get(key)?.untilTs ?? 0) > clock(),
    failed: (key) => {
      const failures = (holds.peek(key)?.failures ?? 0) + 1;
      holds.set(key, { failures, untilTs: clock() + backOffMs(policy, failures, random()) });
    },
    succeeded: (key) => {
      holds.delete(key);
    },
  };
}
