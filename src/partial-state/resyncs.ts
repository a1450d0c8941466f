/**
 * The resyncs of this server: one a room at most, a few at once, through one server after another, with a back-off after
 * each full round that survives a restart. Servers that fail are asked again in the next round, never given up.
 */

import type { ServerName } from '../kernel/matrix/ids.js';
import type { BackOffPolicy } from '../remote/back-off.js';
import { nextTryTs } from '../remote/back-off.js';
import { RemoteError } from '../remote/remote-error.js';
import { SplitError } from '../remote/split-response.js';
import type { RoomServer } from '../room/room-server.js';
import type { RoomNid } from '../store/nids.js';
import type { Room } from '../store/rooms.js';
import { allRooms, loadPartialState, putPartialState } from '../store/rooms.js';
import { partialRoom, resyncRoom } from './resync-room.js';

/** Resyncs that run at once; the others wait their turn. */
export const RESYNCS_AT_ONCE_MAX = 3;
/** Servers asked in one round. */
export const SERVERS_A_ROUND_MAX = 10;
/** After a round in which every server failed: from a minute to an hour. */
export const RESYNC_BACK_OFF: BackOffPolicy = { firstMs: 60_000, maxMs: 60 * 60 * 1000, factor: 2 };
/** Between resyncs that start together after a restart. */
const START_STAGGER_MS = 250;

export class Resyncs {
  readonly #server: RoomServer;
  readonly #onComplete: (room: RoomNid) => void;
  readonly #running = new Map<RoomNid, Promise<void>>();
  readonly #waiting: Room['roomId'][] = [];
  readonly #timers = new Set<NodeJS.Timeout>();
  readonly #abort = new AbortController();

  constructor(server: RoomServer, onComplete: (room: RoomNid) => void) {
    this.#server = server;
    this.#onComplete = onComplete;
  }

  /** Resumes every room that has partial state. */
  resumeAll(): void {
    let n = 0;
    for (const room of allRooms(this.#server.store)) {
      if (room.residency !== 'partial-state') continue;
      const due = loadPartialState(this.#server.store, room.nid)?.nextTryTs ?? 0;
      this.#startAt(room.roomId, Math.max(due, this.#server.clock() + START_STAGGER_MS * n++));
    }
  }

  /** Starts (or queues) a room's resync. */
  start(roomId: Room['roomId']): void {
    if (this.#abort.signal.aborted) return;
    const room = partialRoom(this.#server, roomId);
    if (room === undefined || this.#running.has(room.nid) || this.#waiting.includes(roomId)) return;
    if (this.#running.size >= RESYNCS_AT_ONCE_MAX) {
      this.#waiting.push(roomId);
      return;
    }
    const run = this.#run(room)
      .catch((error: unknown) => {
        if (!this.#abort.signal.aborted) this.#failed(room, error);
      })
      .finally(() => {
        this.#running.delete(room.nid);
        const next = this.#waiting.shift();
        if (next !== undefined) this.start(next);
      });
    this.#running.set(room.nid, run);
  }

  /** Ends what runs; all of it can be resumed. */
  async close(): Promise<void> {
    this.#abort.abort(new Error('the server is stopping'));
    for (const timer of this.#timers) clearTimeout(timer);
    await Promise.allSettled(this.#running.values());
  }

  #startAt(roomId: Room['roomId'], ts: number): void {
    const timer = setTimeout(
      () => {
        this.#timers.delete(timer);
        this.start(roomId);
      },
      Math.max(0, ts - this.#server.clock()),
    );
    this.#timers.add(timer);
  }

  async #run(room: Room): Promise<void> {
    const row = loadPartialState(this.#server.store, room.nid);
    if (row === undefined) return;
    const others = row.servers.filter((name) => name !== row.joinedVia && name !== this.#server.serverName);
    const failures: string[] = [];
    for (const via of [row.joinedVia, ...others].slice(0, SERVERS_A_ROUND_MAX)) {
      if (await this.#through(room, via, failures)) {
        this.#server.log.info({ room: room.roomId, via }, 'the room has full state');
        this.#onComplete(room.nid);
        return;
      }
    }
    throw new Error(failures.join('; '));
  }

  async #through(room: Room, via: ServerName, failures: string[]): Promise<boolean> {
    try {
      await resyncRoom(this.#server, room, via, this.#abort.signal);
      return true;
    } catch (error) {
      this.#abort.signal.throwIfAborted();
      if (!(error instanceof RemoteError || error instanceof SplitError || error instanceof RangeError)) throw error;
      this.#server.log.warn({ room: room.roomId, via, error: error.message }, 'resync through this server failed');
      failures.push(error.message);
      return false;
    }
  }

  /** A whole round failed, or something unforeseen did: later again. */
  #failed(room: Room, error: unknown): void {
    const { store, clock, random, log } = this.#server;
    const reason = error instanceof Error ? error.message : String(error);
    log.error({ room: room.roomId, err: error }, 'resync failed; it will be tried again');
    const row = loadPartialState(store, room.nid);
    if (row === undefined) return;
    const attempts = row.attempts + 1;
    const next = nextTryTs(RESYNC_BACK_OFF, attempts, clock(), random());
    store.write((writer) =>
      putPartialState(writer, room.nid, { ...row, attempts, nextTryTs: next, lastFailure: reason }),
    );
    this.#startAt(room.roomId, next);
  }
}
