/**
 * One real server of a simulated federation: the code of start-server.ts without its sockets and threads, on a store that
 * may crash. It lives several lives on one data folder.
 */

import { join } from 'node:path';
import { federationEndpoints } from '../../src/api/federation/federation-endpoints.js';
import { makeRouter } from '../../src/http/router.js';
import type { EventId, RoomId, ServerName, UserId } from '../../src/kernel/matrix/ids.js';
import type { JsonObject } from '../../src/kernel/matrix/json.js';
import { MatrixError } from '../../src/kernel/matrix/matrix-error.js';
import type { SigningKey } from '../../src/kernel/signatures/ed25519.js';
import { xMatrixHeader } from '../../src/kernel/signatures/x-matrix.js';
import { createFillGap } from '../../src/partial-state/fill-gap.js';
import { Resyncs } from '../../src/partial-state/resyncs.js';
import type { FederationClient, RemoteRequest } from '../../src/remote/federation-client.js';
import { requestUri } from '../../src/remote/federation-client.js';
import { createKeyRing } from '../../src/remote/key-ring.js';
import { createOutboundQueue } from '../../src/remote/outbound-queue.js';
import type { FillGap } from '../../src/room/fetch-missing.js';
import { joinAnyRoom } from '../../src/room/join/join-any-room.js';
import type { JoinRequest } from '../../src/room/join/join-room.js';
import { receivePdus } from '../../src/room/receive-pdus.js';
import { RoomProgress } from '../../src/room/room-progress.js';
import { RoomQueues } from '../../src/room/room-queues.js';
import type { RoomServer } from '../../src/room/room-server.js';
import { sendEvent } from '../../src/room/send-event.js';
import { readRecord, recordRoomNid } from '../../src/store/event-record.js';
import { eventVerdict, Verdict } from '../../src/store/event-status.js';
import { eventIdOfNid, servedBody } from '../../src/store/events.js';
import { DiskError } from '../../src/store/folder/store-error.js';
import type { EventNid } from '../../src/store/nids.js';
import type { Store } from '../../src/store/open-store.js';
import type { Room } from '../../src/store/rooms.js';
import { loadRoom, loadRoomByNid } from '../../src/store/rooms.js';
import { putServerKey } from '../../src/store/server-keys.js';
import { inlinePool } from '../../src/workers/inline-pool.js';
import type { Random } from '../hq/room/plan/random.js';
import type { Answered, Host } from './network.js';
import { announceDeath } from './network.js';
import type { CrashingStore, CrashPlan } from './store/crashing-store.js';
import { Crash, openCrashingStore } from './store/crashing-store.js';
import type { Disk } from './store/full-disk.js';
import type { Life, VirtualTime } from './virtual-time.js';

/** Longest time that a job waits for a thread, in milliseconds. */
const JOB_MS_MAX = 20;
const OWN_KEY_VALID_MS = 10 * 365 * 24 * 60 * 60 * 1000;

export interface FederationServerOptions {
  readonly key: SigningKey;
  readonly folder: string;
  readonly time: VirtualTime;
  readonly random: Random;
  readonly disk: Disk;
  readonly client: FederationClient;
  readonly notaries: readonly ServerName[];
  readonly trace: (line: string) => void;
  /** Something happened that never should. */
  readonly onBug: (what: string) => void;
  /** Instead of the virtual time, where given. */
  readonly clock?: () => number;
}

/** What lives from a start to the next end. */
interface Running {
  readonly life: Life;
  readonly store: CrashingStore;
  readonly room: RoomServer;
  readonly resyncs: Resyncs;
  readonly outbound: ReturnType<typeof createOutboundQueue>;
  readonly fillGap: FillGap;
  readonly router: ReturnType<typeof makeRouter>;
}

export class FederationServer implements Host {
  readonly name: ServerName;
  readonly #options: FederationServerOptions;
  #running: Running | undefined;
  #lives = 0;
  /** Events of the timeline in the order in which they were decided, in all lives. */
  readonly decided: EventNid[] = [];
  /** Those decided while the room's state was partial. */
  readonly decidedWhilePartial = new Set<EventNid>();
  /** Whether each was rejected at first. */
  readonly rejectedAtFirst = new Map<EventNid, boolean>();
  /** Store writes in all lives. */
  writes = 0;
  /** Told of a crash when the files are closed. */
  onCrashed: () => void = () => undefined;

  constructor(options: FederationServerOptions) {
    this.#options = options;
    this.name = options.key.serverName;
  }

  /** Does something that is not of the story: it meets no full disk and no crash. */
  spare<T>(act: () => Promise<T>): Promise<T> {
    return this.#options.disk.spare(() => this.running.store.spare(act));
  }

  /** Where its store is. */
  get disk(): Disk {
    return this.#options.disk;
  }

  get life(): Life | undefined {
    return this.#running?.life;
  }

  get running(): Running {
    if (this.#running === undefined) throw new Crash(`${this.name} is not running`);
    return this.#running;
  }

  get room(): RoomServer {
    return this.running.room;
  }

  get store(): Store {
    return this.running.store;
  }

  loadRoom(roomId: RoomId): Room | undefined {
    return loadRoom(this.store, roomId);
  }

  start(plan?: CrashPlan): void {
    this.#lives += 1;
    const life: Life = { name: `${this.name}#${this.#lives}`, dead: false };
    this.#running = this.#options.time.within(life, () => this.#open(life, plan));
  }

  /** Plans the end of the life that goes on. */
  planCrash(plan: CrashPlan | undefined): void {
    this.#running?.store.planCrash(plan);
  }

  #open(life: Life, plan: CrashPlan | undefined): Running {
    const { key, folder, time, random, disk, client, notaries, trace, onBug } = this.#options;
    const clock = this.#options.clock ?? time.now;
    const store = openCrashingStore({
      dataDir: join(folder, this.name),
      serverName: this.name,
      time,
      life,
      random: random.next,
      // The write of a start that keeps our own key is not counted.
      plan: plan && { ...plan, atWrite: plan.atWrite + 1 },
      onCrash: () => this.#crashed(),
      // A process that cannot write what a start writes does not start.
      takeWrite: () => this.#running !== undefined && disk.takeWrite(life.name),
      onPersisted: (event) => this.#noteDecided(store, event),
    });
    store.write((writer) => {
      const row = { publicKey: key.publicKey, validUntilTs: clock() + OWN_KEY_VALID_MS, expired: false };
      putServerKey(writer, this.name, key.keyId, row);
    });
    const progress = new Map<string, RoomProgress>();
    const log = {
      debug: () => undefined,
      info: () => undefined,
      warn: () => undefined,
      error: ({ err }: { err?: unknown }, message: string) => {
        if (life.dead) return;
        trace(`${this.name} ${message}: ${err}`);
        if (!isRemoteFailure(err) && !(err instanceof DiskError))
          onBug(`${this.name} ${message}: ${err instanceof Error ? err.stack : err}`);
      },
    };
    const outbound = createOutboundQueue({
      store,
      client,
      serverName: this.name,
      loadPdu: (event) => loadPdu(store, event),
      clock,
      random: random.next,
      log,
    });
    const room: RoomServer = {
      serverName: this.name,
      signingKey: key,
      store,
      pool: inlinePool(store, () => time.sleep(random.below(JOB_MS_MAX))),
      keys: createKeyRing({ store, client, notaries, own: key, clock, random: random.next }),
      client,
      queues: new RoomQueues(),
      progressOf: (roomId) => {
        const known = progress.get(roomId) ?? new RoomProgress(clock);
        progress.set(roomId, known);
        return known;
      },
      clock,
      random: random.next,
      log,
      onTimelineEvent: (nid) => resyncs.followRoom(nid),
      onQueued: (destinations) => outbound.wake(destinations),
    };
    const resyncs = new Resyncs(
      room,
      () => trace(`${this.name} has full state`),
      () => trace(`${this.name} backs off`),
    );
    const fillGap = createFillGap(room);
    const endpoints = federationEndpoints(room, {
      onCaller: (origin) => outbound.otherSideCalled(origin),
      receivePdus: (origin, roomId, pdus) => receivePdus(room, origin, roomId, pdus, fillGap),
    });
    outbound.start();
    resyncs.resumeAll();
    return { life, store, room, resyncs, outbound, fillGap, router: makeRouter(endpoints) };
  }

  #noteDecided(store: Store, event: EventNid): void {
    if (this.decided.includes(event)) {
      this.#options.trace(`${this.name} decides again about ${eventIdOfNid(store, event).slice(0, 8)}`);
      return;
    }
    this.decided.push(event);
    this.rejectedAtFirst.set(event, eventVerdict(store, event) === Verdict.rejected);
    const record = store.tables.event_record_by_nid.getBinaryFast(event);
    const room = record === undefined ? undefined : loadRoomByNid(store, recordRoomNid(record));
    if (room !== undefined && room.residency !== 'full-state') this.decidedWhilePartial.add(event);
  }

  #crashed(): void {
    const { time, trace } = this.#options;
    const running = this.#running;
    if (running === undefined) return;
    this.#running = undefined;
    this.writes += running.store.writes();
    trace(`${running.life.name} crashes at write ${running.store.writes()}`);
    time.outside(() => {
      // First everything that the throw sets going comes to its end.
      time.schedule(0, () => {
        announceDeath(running.life);
        time.schedule(0, () => {
          time.standStill(running.store.bury().then(() => time.outside(() => this.onCrashed())));
        });
      });
    });
  }

  /** Ends the server as SIGTERM does. */
  stop(): void {
    const { time } = this.#options;
    const running = this.#running;
    if (running === undefined) return;
    this.#running = undefined;
    this.writes += running.store.writes();
    running.life.dead = true;
    time.outside(() =>
      time.schedule(0, () => {
        announceDeath(running.life);
        time.schedule(0, () => time.standStill(running.store.close()));
      }),
    );
  }

  /** Joins as a client's call does. Throws MatrixError. */
  async join(request: JoinRequest): Promise<void> {
    const { room, resyncs } = this.running;
    await joinAnyRoom(room, request);
    resyncs.start(request.roomId);
  }

  send(roomId: RoomId, sender: string, type: string, stateKey: string | undefined, content: JsonObject) {
    return sendEvent(this.room, roomId, { type, sender: sender as UserId, stateKey, content });
  }

  /** Takes in what another server pushes, past the network. */
  receive(origin: ServerName, roomId: RoomId, pdus: readonly Buffer[]): Promise<ReadonlyMap<EventId, object>> {
    const { room, fillGap } = this.running;
    return receivePdus(room, origin, roomId, pdus, fillGap);
  }

  async answer(origin: ServerName, request: RemoteRequest): Promise<Answered> {
    const { router } = this.running;
    const { method, content } = request;
    const rawUri = requestUri(request);
    const url = new URL(rawUri, 'https://simulated.invalid');
    const key = this.keyOf(origin);
    try {
      const { endpoint, params } = router.match(method, url.pathname);
      const signed = { method, uri: rawUri, origin, destination: this.name, content };
      const response = await endpoint.handle({
        method,
        rawUri,
        params,
        query: url.searchParams,
        header: (name) => (name === 'authorization' && key !== undefined ? xMatrixHeader(signed, key) : undefined),
        body: content === undefined ? Buffer.alloc(0) : Buffer.from(JSON.stringify(content), 'utf8'),
        signal: new AbortController().signal,
      });
      const chunks: Uint8Array[] = [];
      if ('json' in response) chunks.push(Buffer.from(JSON.stringify(response.json), 'utf8'));
      else if ('bytes' in response) chunks.push(response.bytes);
      else for await (const chunk of response.chunks) chunks.push(Buffer.from(chunk));
      return { status: response.status, body: Buffer.concat(chunks) };
    } catch (error) {
      // As http/handle-request.ts answers it.
      if (error instanceof DiskError) return { status: 503, body: Buffer.from('{"errcode":"M_UNKNOWN"}') };
      if (!(error instanceof MatrixError)) throw error;
      return { status: error.status, body: Buffer.from(JSON.stringify(error.toBody()), 'utf8') };
    }
  }

  /** The keys that requests of others are signed with. */
  keyOf: (origin: ServerName) => SigningKey | undefined = () => undefined;
}

/** Whether an error says no more than that other servers did not give what they were asked for. */
function isRemoteFailure(error: unknown): boolean {
  return error instanceof Error && /^[\w.-]+: /.test(error.message) && error.constructor.name !== 'TypeError';
}

function loadPdu(store: Store, event: EventNid): JsonObject | undefined {
  const bytes = store.tables.event_record_by_nid.getBinaryFast(event);
  const room = bytes === undefined ? undefined : loadRoomByNid(store, readRecord(bytes).roomNid);
  const body = room === undefined ? undefined : servedBody(store, room.rules, event);
  return body === undefined ? undefined : (JSON.parse(body.toString('utf8')) as JsonObject);
}
