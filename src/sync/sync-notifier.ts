/** Wakes long polls when a room that they watch has something new. Nothing is carried: who wakes reads the store again. */

import { MatrixError } from '../kernel/matrix/matrix-error.js';
import type { RoomNid } from '../store/nids.js';

/** Long polls at once; one more is told to come back. */
export const LONG_POLLS_MAX = 10_000;

interface Poll {
  readonly rooms: (room: RoomNid) => boolean;
  readonly wake: () => void;
}

export class SyncNotifier {
  readonly #polls = new Set<Poll>();
  #closed = false;

  /** Whether the server is stopping: whoever waits answers what there is. */
  get isClosed(): boolean {
    return this.#closed;
  }

  /** Ends every wait, and lets no more begin. */
  close(): void {
    this.#closed = true;
    for (const poll of [...this.#polls]) poll.wake();
  }

  /** Something happened in a room. */
  notify(room: RoomNid): void {
    for (const poll of [...this.#polls]) if (poll.rooms(room)) poll.wake();
  }

  /** Waits for news of one of the rooms, a time-out, or the caller's hanging up. */
  wait(rooms: (room: RoomNid) => boolean, signal: AbortSignal, timeoutMs: number): Promise<void> {
    if (this.#closed || signal.aborted || timeoutMs <= 0) return Promise.resolve();
    if (this.#polls.size >= LONG_POLLS_MAX) {
      throw new MatrixError(429, 'M_LIMIT_EXCEEDED', 'too many clients are waiting', { retry_after_ms: 5000 });
    }
    return new Promise((resolve) => {
      const end = () => {
        clearTimeout(timer);
        signal.removeEventListener('abort', end);
        this.#polls.delete(poll);
        resolve();
      };
      const poll: Poll = { rooms, wake: end };
      const timer = setTimeout(end, timeoutMs);
      signal.addEventListener('abort', end, { once: true });
      this.#polls.add(poll);
    });
  }
}
