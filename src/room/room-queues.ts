/**
 * One queue a room: what decides about a room's events runs alone in it, in the order in which it came; rooms do not wait
 * for one another. Within it a plan is made and then written once, so that a crash leaves nothing half-done.
 */

import { MatrixError } from '../kernel/matrix/matrix-error.js';

/** Tasks that may wait for one room; beyond it the caller is told to come back. */
export const ROOM_TASKS_WAITING_MAX = 1000;

export class RoomQueues {
  readonly #tails = new Map<string, { promise: Promise<unknown>; waiting: number }>();

  /** Runs `task` when everything before it in the room's queue has ended. Throws 429 when the queue is full. */
  async run<T>(roomId: string, task: () => Promise<T>): Promise<T> {
    const queue = this.#tails.get(roomId) ?? { promise: Promise.resolve(), waiting: 0 };
    if (queue.waiting >= ROOM_TASKS_WAITING_MAX) {
      throw new MatrixError(429, 'M_LIMIT_EXCEEDED', `too much is waiting for ${roomId}`, { retry_after_ms: 1000 });
    }
    queue.waiting += 1;
    this.#tails.set(roomId, queue);
    const result = queue.promise.then(task);
    queue.promise = result.then(
      () => undefined,
      () => undefined,
    );
    try {
      return await result;
    } finally {
      queue.waiting -= 1;
      if (queue.waiting === 0) this.#tails.delete(roomId);
    }
  }
}
