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
import type { PartialStateRow, Room } from '../store/rooms.js';
import {
  allRooms,
  isServerJoined,
  joinedServers,
  loadPartialState,
  loadRoomByNid,
  putPartialState,
  putRoom,
} from '../store/rooms.js';
import { partialRoom, resyncRoom } from './resync-room.js';

/** Resyncs that run at once; the others wait their turn. */
export const RESYNCS_AT_ONCE_MAX = 3;
/** A resync to which nothing came for so long does not count among those while others wait: a silent server has ten minutes. */
export const STALLED_MS = 60_000;
/** Resyncs that run at once, those to which nothing comes counted in. */
export const RESYNCS_WITH_STALLED_MAX = 30;
/** Servers asked in one round. */
export const SERVERS_A_ROUND_MAX = 10;
/** After a round in which every server failed: from a minute to an hour. */
export const RESYNC_BACK_OFF: BackOffPolicy = { firstMs: 60_000, maxMs: 60 * 60 * 1000, factor: 2 };
/** Between resyncs that start together after a restart. */
const START_STAGGER_MS = 250;

/**
 * Whom a round asks: who let us in, then servers of members that we know, then those that were named; each round the next
 * of them. A list of made-up names must not keep us from the servers that are there.
 */
export function serversOfRound(
  { store, serverName }: Pick<RoomServer, 'store' | 'serverName'>,
  room: Pick<Room, 'nid'>,
  { joinedVia, servers, attempts }: PartialStateRow,
): ServerName[] {
  const known = [...joinedServers(store, room.nid)].map(([name]) => name);
  const others = [...new Set([...known, ...servers])].filter((name) => name !== joinedVia && name !== serverName);
  const first = others.length === 0 ? 0 : (attempts * (SERVERS_A_ROUND_MAX - 1)) % others.length;
  return [joinedVia, ...others.slice(first), ...others.slice(0, first)].slice(0, SERVERS_A_ROUND_MAX);
}

/** Every server of a round failed. */
class RoundFailed extends Error {
  override readonly name = 'RoundFailed';
  /** Most of them say that we are not in the room. */
  readonly isNotForUs: boolean;

  constructor(failures: readonly Error[]) {
    super(failures.map(({ message }) => message).join('; '));
    const refusals = failures.filter((error) => error instanceof RemoteError && error.status === 403);
    this.isNotForUs = refusals.length * 2 > failures.length;
  }
}

interface Run {
  readonly roomId: Room['roomId'];
  readonly ended: Promise<void>;
  readonly abort: AbortController;
  /** What had come when it was last looked at, and when that last changed. */
  seen: number;
  seenTs: number;
}

export class Resyncs {
  readonly #server: RoomServer;
  readonly #onComplete: (room: RoomNid) => void;
  readonly #onFailedForNow: (room: RoomNid) => void;
  readonly #running = new Map<RoomNid, Run>();
  readonly #waiting: Room['roomId'][] = [];
  readonly #timers = new Map<Room['roomId'], NodeJS.Timeout>();
  /** Rooms that were paused when they were last looked at. */
  readonly #paused = new Set<RoomNid>();
  /** While rooms wait: looks for resyncs to which nothing comes. */
  #watch: NodeJS.Timeout | undefined;
  #closed = false;

  /** `onFailedForNow`: told when a full round of servers failed and the room's row says when the next one is. */
  constructor(
    server: RoomServer,
    onComplete: (room: RoomNid) => void,
    onFailedForNow: (room: RoomNid) => void = () => undefined,
  ) {
    this.#server = server;
    this.#onComplete = onComplete;
    this.#onFailedForNow = onFailedForNow;
  }

  /** Resumes every room that has partial state; a paused one waits until one of our users is back. */
  resumeAll(): void {
    let n = 0;
    for (const room of allRooms(this.#server.store)) {
      if (room.residency === 'paused') this.#paused.add(room.nid);
      if (room.residency !== 'partial-state') continue;
      const due = loadPartialState(this.#server.store, room.nid)?.nextTryTs ?? 0;
      this.#startAt(room.roomId, Math.max(due, this.#server.clock() + START_STAGGER_MS * n++));
    }
  }

  /** Starts (or queues) a room's resync, unless one runs, the room's state is full, or none of our users is in it. */
  start(roomId: Room['roomId']): void {
    if (this.#closed) return;
    const room = partialRoom(this.#server, roomId);
    if (room === undefined || this.#running.has(room.nid) || this.#waiting.includes(roomId)) return;
    if (!this.#hasPlace()) {
      this.#waiting.push(roomId);
      this.#watchWhileWaiting();
      return;
    }
    const abort = new AbortController();
    const ended = this.#run(room, abort.signal)
      .catch((error: unknown) => {
        if (!abort.signal.aborted) this.#failed(room, error);
      })
      .finally(() => {
        this.#running.delete(room.nid);
        // Paused, and one of our users came back before it had ended.
        if (abort.signal.aborted) this.start(roomId);
        this.#startWaiting();
      });
    this.#running.set(room.nid, { roomId, ended, abort, seen: 0, seenTs: this.#server.clock() });
  }

  /**
   * Told of each event of a room's timeline. Ends the resync where our last user has left; all of it is kept. Starts it
   * where one of our users is in the room again without having joined: a kick lost against what another branch brought.
   */
  followRoom(nid: RoomNid): void {
    const room = loadRoomByNid(this.#server.store, nid);
    if (room?.residency === 'paused') {
      this.#paused.add(nid);
      this.#running.get(nid)?.abort.abort(new Error('the last of our users left the room'));
    } else if (room?.residency === 'partial-state' && this.#paused.delete(nid) && !this.#timers.has(room.roomId)) {
      // What waits for its time after a failure goes on waiting.
      this.start(room.roomId);
    }
  }

  /**
   * Starts a room's resync now, whatever its back-off says, and as if no server had failed: the waits begin anew, and the
   * keys of servers that did not answer are asked for again. One that runs goes on as it is.
   */
  tryNow(roomId: Room['roomId']): void {
    const { store, keys } = this.#server;
    const room = partialRoom(this.#server, roomId);
    const row = room === undefined ? undefined : loadPartialState(store, room.nid);
    if (room === undefined || row === undefined) return;
    if (row.attempts > 0 || row.nextTryTs > 0)
      store.write((writer) => putPartialState(writer, room.nid, { ...row, attempts: 0, nextTryTs: 0 }));
    keys.forgetFailures([row.joinedVia, ...row.servers]);
    this.start(roomId);
  }

  /** Ends what runs; all of it can be resumed. */
  async close(): Promise<void> {
    this.#closed = true;
    for (const { abort } of this.#running.values()) abort.abort(new Error('the server is stopping'));
    for (const timer of this.#timers.values()) clearTimeout(timer);
    clearTimeout(this.#watch);
    await Promise.allSettled([...this.#running.values()].map(({ ended }) => ended));
  }

  #startWaiting(): void {
    while (this.#waiting.length > 0 && this.#hasPlace()) this.start(this.#waiting.shift() as Room['roomId']);
  }

  #hasPlace(): boolean {
    if (this.#running.size < RESYNCS_AT_ONCE_MAX) return true;
    if (this.#running.size >= RESYNCS_WITH_STALLED_MAX) return false;
    const stalledSince = this.#server.clock() - STALLED_MS;
    const moving = [...this.#running.values()].filter(({ seenTs }) => seenTs > stalledSince);
    return moving.length < RESYNCS_AT_ONCE_MAX;
  }

  #watchWhileWaiting(): void {
    this.#watch ??= setTimeout(() => {
      this.#watch = undefined;
      for (const run of this.#running.values()) {
        const seen = this.#server.progressOf(run.roomId).sum;
        if (seen !== run.seen) Object.assign(run, { seen, seenTs: this.#server.clock() });
      }
      this.#startWaiting();
      if (this.#waiting.length > 0) this.#watchWhileWaiting();
    }, STALLED_MS / 2);
  }

  #startAt(roomId: Room['roomId'], ts: number): void {
    clearTimeout(this.#timers.get(roomId));
    const timer = setTimeout(
      () => {
        this.#timers.delete(roomId);
        this.start(roomId);
      },
      Math.max(0, ts - this.#server.clock()),
    );
    this.#timers.set(roomId, timer);
  }

  async #run(room: Room, signal: AbortSignal): Promise<void> {
    const row = this.#beginRound(room);
    if (row === undefined) return;
    const failures: Error[] = [];
    for (const via of serversOfRound(this.#server, room, row)) {
      if (await this.#through(room, via, signal, failures)) {
        this.#server.log.info({ room: room.roomId, via }, 'the room has full state');
        this.#onComplete(room.nid);
        return;
      }
    }
    throw new RoundFailed(failures);
  }

  /** The room's row, no longer backing off: whoever asks for full state now waits for this round. */
  #beginRound(room: Room): PartialStateRow | undefined {
    const { store } = this.#server;
    const row = loadPartialState(store, room.nid);
    if (row === undefined || row.nextTryTs === 0) return row;
    const begun = { ...row, nextTryTs: 0 };
    store.write((writer) => putPartialState(writer, room.nid, begun));
    return begun;
  }

  async #through(room: Room, via: ServerName, signal: AbortSignal, failures: Error[]): Promise<boolean> {
    try {
      await resyncRoom(this.#server, room, via, signal);
      return true;
    } catch (error) {
      signal.throwIfAborted();
      this.#server.progressOf(room.roomId).fail();
      if (!(error instanceof RemoteError || error instanceof SplitError || error instanceof RangeError)) throw error;
      this.#server.log.warn({ room: room.roomId, via, error: error.message }, 'resync through this server failed');
      failures.push(error instanceof RemoteError ? error : new Error(`${via}: ${error.message}`, { cause: error }));
      return false;
    }
  }

  /** A whole round failed, or something unforeseen did: later again. */
  #failed(room: Room, error: unknown): void {
    const { store, clock, random, log, progressOf } = this.#server;
    const reason = error instanceof Error ? error.message : String(error);
    log.error({ room: room.roomId, err: error }, 'resync failed; it will be tried again');
    progressOf(room.roomId).failure = reason;
    const row = loadPartialState(store, room.nid);
    if (row === undefined) return;
    const attempts = row.attempts + 1;
    const next = nextTryTs(RESYNC_BACK_OFF, attempts, clock(), random());
    try {
      store.write((writer) =>
        putPartialState(writer, room.nid, { ...row, attempts, nextTryTs: next, lastFailure: reason }),
      );
    } catch (failure) {
      // A full disk may be why the round failed. Then the schedule is in memory only, and goes on.
      log.error({ room: room.roomId, err: failure }, 'the schedule of a resync could not be stored');
    }
    this.#onFailedForNow(room.nid);
    if (error instanceof RoundFailed && error.isNotForUs) void this.#pauseUnlessJoined(room);
    this.#startAt(room.roomId, next);
  }

  /** Others removed our last user, and most servers say that we are out: it waits until one of ours is back. */
  async #pauseUnlessJoined({ roomId }: Room): Promise<void> {
    const { store, queues, serverName, log } = this.#server;
    await queues
      .run(roomId, async () => {
        const room = partialRoom(this.#server, roomId);
        if (room === undefined || isServerJoined(store, room.nid, serverName)) return;
        store.write((writer) => putRoom(writer, room.nid, { ...room, residency: 'paused' }));
        this.#paused.add(room.nid);
        log.info({ room: roomId }, 'the resync is paused: none of our users is in the room');
      })
      // The next round says the same.
      .catch((error: unknown) => log.error({ room: roomId, err: error }, 'a resync could not be paused'));
  }
}
