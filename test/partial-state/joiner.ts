/**
 * A second server (hs2) in the process of a ServedRoom: a real store, inline workers unless a test brings others, and a client that calls the resident's
 * endpoints whatever server is asked. A test may answer a request in the resident's place, and sees what was asked.
 */

import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { EventId, RoomId, ServerName } from '../../src/kernel/matrix/ids.js';
import type { JsonObject, JsonValue } from '../../src/kernel/matrix/json.js';
import { createFillGap } from '../../src/partial-state/fill-gap.js';
import { Resyncs } from '../../src/partial-state/resyncs.js';
import type { FederationClient, RemoteRequest } from '../../src/remote/federation-client.js';
import { requestUri } from '../../src/remote/federation-client.js';
import { createKeyRing } from '../../src/remote/key-ring.js';
import { RemoteError } from '../../src/remote/remote-error.js';
import type { FillGap } from '../../src/room/fetch-missing.js';
import { joinRoom } from '../../src/room/join/join-room.js';
import type { PduAnswer } from '../../src/room/receive-pdus.js';
import { receivePdus } from '../../src/room/receive-pdus.js';
import { RoomProgress } from '../../src/room/room-progress.js';
import { RoomQueues } from '../../src/room/room-queues.js';
import type { RoomServer } from '../../src/room/room-server.js';
import { loadRecord } from '../../src/store/events.js';
import type { RoomNid } from '../../src/store/nids.js';
import type { Store } from '../../src/store/open-store.js';
import { openStore } from '../../src/store/open-store.js';
import type { PartialStateRow, Room } from '../../src/store/rooms.js';
import { loadPartialState, loadRoom } from '../../src/store/rooms.js';
import { putServerKey } from '../../src/store/server-keys.js';
import { stateEntries } from '../../src/store/state-groups.js';
import { inlinePool } from '../../src/workers/inline-pool.js';
import type { WorkerPool } from '../../src/workers/pool.js';
import type { ServedRoom } from '../api/federation/served-room.js';
import { BOB, HS2_KEY, HS3_KEY, NOW, OWN_KEY, ROOM } from '../api/federation/served-room.js';

/** Bytes of one piece of a streamed answer: no event fits, so that every element goes over pieces. */
const PIECE_BYTES = 100;

/** Answers in the resident's place; undefined: let the resident answer. May throw. */
export type Intercept = (server: ServerName, request: RemoteRequest, real: () => Promise<JsonValue>) => unknown;

export class Joiner {
  readonly #folder = mkdtempSync(join(tmpdir(), 'joinery-joiner-'));
  readonly #progress = new Map<string, RoomProgress>();
  readonly #resident: ServedRoom;
  readonly store = openStore(this.#folder, 'hs2');
  /** `server endpoint`, in the order asked, such as `hs1 state_ids`. */
  readonly asked: string[] = [];
  intercept: Intercept = () => undefined;
  onTimelineEvent: (room: RoomNid) => void = () => undefined;
  readonly server: RoomServer;
  readonly #fillGap: FillGap;

  constructor(resident: ServedRoom, makePool: (store: Store) => WorkerPool = inlinePool) {
    this.#resident = resident;
    const client = this.#client();
    const { store } = this;
    const clock = () => NOW;
    this.server = {
      serverName: HS2_KEY.serverName,
      signingKey: HS2_KEY,
      store,
      pool: makePool(store),
      keys: createKeyRing({ store, client, notaries: [], own: HS2_KEY, clock }),
      client,
      queues: new RoomQueues(),
      progressOf: (roomId) => {
        const progress = this.#progress.get(roomId) ?? new RoomProgress(clock);
        this.#progress.set(roomId, progress);
        return progress;
      },
      clock,
      random: () => 0.5,
      log: {
        debug: () => undefined,
        info: () => undefined,
        warn: () => undefined,
        error: () => undefined,
      },
      onTimelineEvent: (room) => this.onTimelineEvent(room),
      onQueued: () => undefined,
    };
    this.#fillGap = createFillGap(this.server);
    store.write((writer) => {
      for (const key of [OWN_KEY, HS2_KEY, HS3_KEY]) {
        const row = { publicKey: key.publicKey, validUntilTs: NOW + 1e9, expired: false };
        putServerKey(writer, key.serverName, key.keyId, row);
      }
    });
  }

  async #answer(server: ServerName, request: RemoteRequest): Promise<string> {
    this.asked.push(`${server} ${request.path.split('/')[4]}`);
    const real = async () => {
      const { method, content } = request;
      const options = content === undefined ? { as: HS2_KEY } : { as: HS2_KEY, content };
      const { status, body, raw } = await this.#resident.call(method, requestUri(request), options);
      if (status === 200) return raw;
      throw new RemoteError('refused', server, `${request.path}: ${JSON.stringify(body)}`, {
        status,
        errcode: String(body.errcode),
      });
    };
    const given: unknown = await this.intercept(server, request, real);
    return typeof given === 'string' ? given : JSON.stringify(given ?? (await real()));
  }

  #client(): FederationClient {
    return {
      requestJson: async (server, request) => {
        const text = await this.#answer(server, request);
        request.signal?.throwIfAborted();
        return JSON.parse(text) as JsonValue;
      },
      requestStream: async (server, request) => {
        const bytes = Buffer.from(await this.#answer(server, request), 'utf8');
        async function* pieces() {
          for (let at = 0; at < bytes.length; at += PIECE_BYTES) {
            request.signal?.throwIfAborted();
            yield bytes.subarray(at, at + PIECE_BYTES);
          }
        }
        return { contentLength: bytes.length, body: pieces() };
      },
      close: async () => undefined,
    };
  }

  /** Takes in what another server pushes. */
  receive(origin: ServerName, ...pdus: readonly (JsonObject | string)[]): Promise<ReadonlyMap<EventId, PduAnswer>> {
    const bytes = pdus.map((pdu) => Buffer.from(typeof pdu === 'string' ? pdu : JSON.stringify(pdu)));
    return receivePdus(this.server, origin, ROOM, bytes, this.#fillGap);
  }

  join(roomId: RoomId = ROOM): Promise<void> {
    const candidates = [OWN_KEY.serverName];
    return joinRoom(this.server, { roomId, userId: BOB, candidates, profile: {}, partial: true });
  }

  room(roomId: RoomId = ROOM): Room {
    const room = loadRoom(this.store, roomId);
    if (room === undefined) throw new Error(`no room ${roomId}`);
    return room;
  }

  partialRow(): PartialStateRow | undefined {
    return loadPartialState(this.store, this.room().nid);
  }

  /** Members in the current state, each with its membership, sorted. */
  members(): string[] {
    return membersOf(this.server, this.room());
  }

  /** Runs one round of resynchronisation: whether it completed the room. */
  async resync(): Promise<boolean> {
    let ended: (complete: boolean) => void = () => undefined;
    const outcome = new Promise<boolean>((resolve) => {
      ended = resolve;
    });
    const resyncs = new Resyncs(
      this.server,
      () => ended(true),
      () => ended(false),
    );
    resyncs.start(ROOM);
    const complete = await outcome;
    await resyncs.close();
    return complete;
  }

  async close(): Promise<void> {
    await this.store.close();
    rmSync(this.#folder, { recursive: true });
  }
}

/** Members in a room's current state, such as `@alice:hs1 join`, sorted. */
export function membersOf(server: RoomServer, room: Room): string[] {
  const members: string[] = [];
  for (const [, nid] of stateEntries(server.store, room.currentGroup)) {
    const record = loadRecord(server.store, nid);
    if (record?.type === 'm.room.member') members.push(`${record.stateKey} ${record.membership}`);
  }
  return members.sort();
}
