/**
 * Requests that need a room's full state wait here until its resync is complete, within limits, and never for good.
 * MSC3902, "Handling client-server requests".
 */

import type { RoomNid } from '../store/nids.js';
import type { StoreReader } from '../store/open-store.js';
import { loadRoomByNid } from '../store/rooms.js';

/** Requests that wait at once, all rooms together; each is a socket and a closure. */
export const WAITERS_MAX = 10_000;
/** Longest wait of one request: ten minutes, several times what a resync of Matrix HQ takes. */
export const FULL_STATE_WAIT_MS = 10 * 60 * 1000;

export type WaitOutcome = 'full' | 'timeout' | 'aborted' | 'too-many';

export class FullStateWaiters {
  readonly #reader: StoreReader;
  readonly #waiting = new Map<RoomNid, Set<() => void>>();
  #count = 0;

  constructor(reader: StoreReader) {
    this.#reader = reader;
  }

  /** Waits until the room has full state; at once where it has. */
  wait(room: RoomNid, signal: AbortSignal, timeoutMs = FULL_STATE_WAIT_MS): Promise<WaitOutcome> {
    if (loadRoomByNid(this.#reader, room)?.residency === 'full-state') return Promise.resolve('full');
    if (signal.aborted) return Promise.resolve('aborted');
    if (this.#count >= WAITERS_MAX) return Promise.resolve('too-many');
    const waiting = this.#waiting.get(room) ?? new Set();
    this.#waiting.set(room, waiting);
    this.#count += 1;
    return new Promise((resolve) => {
      const end = (outcome: WaitOutcome) => {
        clearTimeout(timer);
        signal.removeEventListener('abort', onAbort);
        waiting.delete(onFull);
        this.#count -= 1;
        resolve(outcome);
      };
      const onFull = () => end('full');
      const onAbort = () => end('aborted');
      const timer = setTimeout(() => end('timeout'), timeoutMs);
      signal.addEventListener('abort', onAbort, { once: true });
      waiting.add(onFull);
    });
  }

  /** The room has full state now. */
  completed(room: RoomNid): void {
    const waiting = this.#waiting.get(room);
    this.#waiting.delete(room);
    for (const wake of [...(waiting ?? [])]) wake();
  }
}
