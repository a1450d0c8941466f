/**
 * A joining server (hs2) with its real parts: store, inline pool, key ring, and the federation client over TLS on loopback.
 * Towards servers that a test calls slow, time-outs are short; the honest ones keep theirs, whatever the machine does.
 */

import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setImmediate as nextTurn } from 'node:timers/promises';
import { expect } from 'vitest';
import type { EventId, RoomId, ServerName, UserId } from '../../src/kernel/matrix/ids.js';
import type { JsonObject } from '../../src/kernel/matrix/json.js';
import { createFillGap } from '../../src/partial-state/fill-gap.js';
import { Resyncs } from '../../src/partial-state/resyncs.js';
import type { FederationClient, RemoteRequest } from '../../src/remote/federation-client.js';
import { createFederationClient } from '../../src/remote/federation-client.js';
import { createKeyRing } from '../../src/remote/key-ring.js';
import { joinKnownRoom } from '../../src/room/join/join-known-room.js';
import { joinRoom } from '../../src/room/join/join-room.js';
import type { PduAnswer } from '../../src/room/receive-pdus.js';
import { receivePdus } from '../../src/room/receive-pdus.js';
import { RoomProgress } from '../../src/room/room-progress.js';
import { RoomQueues } from '../../src/room/room-queues.js';
import type { RoomServer } from '../../src/room/room-server.js';
import { sendEvent } from '../../src/room/send-event.js';
import { eventStatus, eventVerdict, StatusBit, Verdict } from '../../src/store/event-status.js';
import { eventNidOf } from '../../src/store/events.js';
import { openStore } from '../../src/store/open-store.js';
import type { PartialStateRow, Refusal, Room } from '../../src/store/rooms.js';
import { loadPartialState, loadRoom, refusals } from '../../src/store/rooms.js';
import { putServerKey } from '../../src/store/server-keys.js';
import { inlinePool } from '../../src/workers/inline-pool.js';
import { membersOf } from '../partial-state/joiner.js';
import { testAuthority, testKey } from '../support/federation-stub.js';
import type { ScriptedResident } from '../support/scripted-resident.js';
import { written } from '../support/scripted-resident.js';
import type { ScriptedRoom } from '../support/scripted-room.js';
import { ROOM_NOW } from '../support/scripted-room.js';

export const BOB = '@bob:hs2' as UserId;
const OWN = testKey('hs2');
const MB = 1024 * 1024;
/** What a liar may add to the process, in bytes: buffers on both ends, garbage that is not collected yet. */
export const RSS_GROWTH_MAX = 150 * MB;

/** Runs `task` and shows that memory stays within bounds meanwhile. */
export async function bounded<T>(task: () => Promise<T>, growthMax = RSS_GROWTH_MAX): Promise<T> {
  const before = process.memoryUsage.rss();
  const sentBefore = written.bytes;
  let peak = before;
  const timer = setInterval(() => {
    peak = Math.max(peak, process.memoryUsage.rss());
  }, 10);
  try {
    return await task();
  } finally {
    clearInterval(timer);
    peak = Math.max(peak, process.memoryUsage.rss());
    expect(peak - before, `after ${written.bytes - sentBefore} bytes`).toBeLessThan(growthMax);
  }
}

export interface LoopbackOptions {
  /** Server name or `*.suffix` -> address; default: hs1, hs3, hs4 and `*.test` are the scripted resident. */
  readonly hosts?: Readonly<Record<string, string>>;
  readonly allowRanges?: readonly string[];
  readonly clock?: () => number;
  /** How long the servers in `slow` may pause; twice that until they begin, four times that for all of an answer. */
  readonly patienceMs?: number;
  readonly keyDeadlineMs?: number;
}

export class LoopbackJoiner {
  readonly #folder = mkdtempSync(join(tmpdir(), 'joinery-liars-'));
  readonly #progress = new Map<string, RoomProgress>();
  readonly #tls: FederationClient;
  readonly #fillGap: ReturnType<typeof createFillGap>;
  readonly store = openStore(this.#folder, 'hs2');
  /** Servers that are waited for as long as `patienceMs` says. */
  readonly slow = new Set<string>();
  readonly server: RoomServer;

  private constructor(tls: FederationClient, options: LoopbackOptions) {
    this.#tls = tls;
    const { store } = this;
    const clock = options.clock ?? (() => ROOM_NOW);
    const client = this.#impatient(options.patienceMs ?? 200);
    const originsDeadlineMs = options.keyDeadlineMs;
    this.server = {
      serverName: OWN.serverName,
      signingKey: OWN,
      store,
      pool: inlinePool(store),
      keys: createKeyRing({ store, client, notaries: [], own: OWN, clock, originsDeadlineMs }),
      client,
      queues: new RoomQueues(),
      progressOf: (roomId) => {
        const progress = this.#progress.get(roomId) ?? new RoomProgress(clock);
        this.#progress.set(roomId, progress);
        return progress;
      },
      clock,
      random: () => 0.5,
      log: { debug: () => undefined, info: () => undefined, warn: () => undefined, error: () => undefined },
      onTimelineEvent: () => undefined,
      onQueued: () => undefined,
    };
    this.#fillGap = createFillGap(this.server);
    store.write((writer) => {
      const row = { publicKey: OWN.publicKey, validUntilTs: ROOM_NOW + 1e9, expired: false };
      putServerKey(writer, OWN.serverName, OWN.keyId, row);
    });
  }

  static async start(resident: ScriptedResident, options: LoopbackOptions = {}): Promise<LoopbackJoiner> {
    const { address } = resident.stub;
    const client = createFederationClient({
      signingKey: OWN,
      hosts: options.hosts ?? { hs1: address, hs3: address, hs4: address, '*.test': address },
      ca: (await testAuthority()).cert,
      verifyCertificates: true,
      allowRanges: options.allowRanges ?? ['127.0.0.0/8'],
      clock: options.clock ?? (() => ROOM_NOW),
    });
    return new LoopbackJoiner(client, options);
  }

  #impatient(patienceMs: number): FederationClient {
    const hurried = (server: ServerName, request: RemoteRequest): RemoteRequest =>
      this.slow.has(server)
        ? { ...request, firstByteTimeoutMs: 2 * patienceMs, idleTimeoutMs: patienceMs, totalTimeoutMs: 4 * patienceMs }
        : request;
    return {
      requestJson: (server, request) => this.#tls.requestJson(server, hurried(server, request)),
      requestStream: (server, request) => this.#tls.requestStream(server, hurried(server, request)),
      close: () => this.#tls.close(),
    };
  }

  join({ roomId }: ScriptedRoom, ...candidates: readonly string[]): Promise<void> {
    return joinRoom(this.server, {
      roomId,
      userId: BOB,
      candidates: candidates as ServerName[],
      profile: {},
      partial: true,
    });
  }

  /** Runs `task` while an honest room is joined through hs3, and shows that this goes well and memory stays within bounds. */
  async beside<T>(honest: ScriptedRoom, task: () => Promise<T>, growthMax = RSS_GROWTH_MAX): Promise<T> {
    const [result] = await bounded(() => Promise.all([task(), this.join(honest, 'hs3')]), growthMax);
    expect(this.row(honest)?.joinedVia).toBe('hs3');
    return result;
  }

  joinAnother({ roomId }: ScriptedRoom, userId: UserId): Promise<void> {
    return joinKnownRoom(this.server, { roomId, userId, candidates: [], profile: {}, partial: true });
  }

  receive({ roomId }: ScriptedRoom, origin: string, ...pdus: JsonObject[]): Promise<ReadonlyMap<EventId, PduAnswer>> {
    const bytes = pdus.map((pdu) => Buffer.from(JSON.stringify(pdu)));
    return receivePdus(this.server, origin as ServerName, roomId, bytes, this.#fillGap);
  }

  say({ roomId }: ScriptedRoom, body: string): Promise<EventId> {
    return sendEvent(this.server, roomId, {
      type: 'm.room.message',
      sender: BOB,
      stateKey: undefined,
      content: { body },
    });
  }

  room({ roomId }: { readonly roomId: RoomId }): Room {
    const room = loadRoom(this.store, roomId);
    if (room === undefined) throw new Error(`no room ${roomId}`);
    return room;
  }

  row(room: ScriptedRoom): PartialStateRow | undefined {
    return loadPartialState(this.store, this.room(room).nid);
  }

  members(room: ScriptedRoom): string[] {
    return membersOf(this.server, this.room(room));
  }

  /** What became of an event. */
  verdict(eventId: EventId): keyof typeof Verdict | 'soft-failed' {
    const nid = eventNidOf(this.store, eventId);
    const verdict = nid === undefined ? Verdict.none : eventVerdict(this.store, nid);
    if (nid !== undefined && (eventStatus(this.store, nid) & StatusBit.softFailed) !== 0) return 'soft-failed';
    return (['none', 'unjudged', 'accepted', 'rejected'] as const)[verdict];
  }

  /** Why an event was not accepted. */
  refusal(room: ScriptedRoom, eventId: EventId): Refusal | undefined {
    return new Map(refusals(this.store, this.room(room).nid)).get(eventId);
  }

  /** One round of resynchronisation of each of these rooms, side by side: which of them it completed. */
  async resync(...rooms: readonly ScriptedRoom[]): Promise<boolean[]> {
    const outcomes = new Map<number, boolean>();
    let ended: () => void = () => undefined;
    const all = new Promise<void>((resolve) => {
      ended = () => {
        if (outcomes.size === rooms.length) resolve();
      };
    });
    const end = (complete: boolean) => (nid: number) => {
      outcomes.set(nid, complete);
      ended();
    };
    const resyncs = new Resyncs(this.server, end(true), end(false));
    for (const { roomId } of rooms) resyncs.start(roomId);
    await all;
    await resyncs.close();
    return rooms.map((room) => outcomes.get(this.room(room).nid) === true);
  }

  async close(): Promise<void> {
    await this.#tls.close();
    // What was begun for a connection that is gone ends in these turns.
    for (let turn = 0; turn < 3; turn++) await nextTurn();
    await this.store.close();
    rmSync(this.#folder, { recursive: true });
  }
}
