/**
 * Requests that need a room's full state wait here until its resync is complete, within limits, and never for good: a
 * resync that has failed for now ends them, and so does their user's leaving the room.
 * MSC3902, "Handling client-server requests".
 */

import type { UserId } from '../kernel/matrix/ids.js';
import { loadRecord } from '../store/events.js';
import type { EventNid, RoomNid } from '../store/nids.js';
import type { StoreReader } from '../store/open-store.js';
import { loadPartialState, loadRoomByNid } from '../store/rooms.js';

/** Requests that wait at once, all rooms together; each is a socket and a closure. */
export const WAITERS_MAX = 10_000;
/** Longest wait of one request: ten minutes, several times what a resync of Matrix HQ takes. */
export const FULL_STATE_WAIT_MS = 10 * 60 * 1000;

export type WaitOutcome =
  /** The room has full state. */
  | 'full'
  /** Every server of a round failed: nothing more comes before the resync's next try. */
  | 'failed-for-now'
  /** The user is in the room no longer. */
  | 'departed'
  | 'timeout'
  | 'aborted'
  | 'too-many'
  /** The server is stopping. */
  | 'stopping';

interface Waiter {
  readonly userId: UserId;
  readonly end: (outcome: WaitOutcome) => void;
}

export class FullStateWaiters {
  readonly #reader: StoreReader;
  readonly #clock: () => number;
  readonly #waiting = new Map<RoomNid, Set<Waiter>>();
  #count = 0;
  #closed = false;

  constructor(reader: StoreReader, clock: () => number) {
    this.#reader = reader;
    this.#clock = clock;
  }

  /** Waits, for a user in it, until the room has full state; at once where it has, or where its resync is backing off. */
  wait(room: RoomNid, userId: UserId, signal: AbortSignal, timeoutMs = FULL_STATE_WAIT_MS): Promise<WaitOutcome> {
    if (loadRoomByNid(this.#reader, room)?.residency === 'full-state') return Promise.resolve('full');
    if (signal.aborted) return Promise.resolve('aborted');
    if (this.#closed) return Promise.resolve('stopping');
    if (this.untilNextTryMs(room) > 0) return Promise.resolve('failed-for-now');
    if (this.#count >= WAITERS_MAX) return Promise.resolve('too-many');
    const waiting = this.#waiting.get(room) ?? new Set();
    this.#waiting.set(room, waiting);
    this.#count += 1;
    return new Promise((resolve) => {
      const end = (outcome: WaitOutcome) => {
        clearTimeout(timer);
        signal.removeEventListener('abort', onAbort);
        waiting.delete(waiter);
        if (waiting.size === 0) this.#waiting.delete(room);
        this.#count -= 1;
        resolve(outcome);
      };
      const waiter: Waiter = { userId, end };
      const onAbort = () => end('aborted');
      const timer = setTimeout(() => end('timeout'), timeoutMs);
      signal.addEventListener('abort', onAbort, { once: true });
      waiting.add(waiter);
    });
  }

  /** Milliseconds until a resync that has failed for now is tried again; 0 where none has. */
  untilNextTryMs(room: RoomNid): number {
    const next = loadPartialState(this.#reader, room)?.nextTryTs ?? 0;
    return Math.max(0, next - this.#clock());
  }

  /** The room has full state now. */
  completed(room: RoomNid): void {
    this.#endAll(room, 'full');
  }

  /** A full round of servers failed; the resync is tried again later. */
  failedForNow(room: RoomNid): void {
    this.#endAll(room, 'failed-for-now');
  }

  /** An event came into the room's timeline: whom it takes out of the room waits no longer. */
  onTimelineEvent(room: RoomNid, event: EventNid): void {
    const waiting = this.#waiting.get(room);
    if (waiting === undefined) return;
    const record = loadRecord(this.#reader, event);
    if (record?.type !== 'm.room.member' || (record.membership !== 'leave' && record.membership !== 'ban')) return;
    for (const waiter of [...waiting]) if (waiter.userId === record.stateKey) waiter.end('departed');
  }

  /** Ends every wait, and lets no more begin. */
  close(): void {
    this.#closed = true;
    for (const room of [...this.#waiting.keys()]) this.#endAll(room, 'stopping');
  }

  #endAll(room: RoomNid, outcome: WaitOutcome): void {
    for (const waiter of [...(this.#waiting.get(room) ?? [])]) waiter.end(outcome);
  }
}
