/**
 * Puts a server together from its configuration: store, pool, remote side, rooms, APIs, listeners. What a folder further up
 * must be told by one further down is passed in here as a function.
 */

import pino from 'pino';
import { adminEndpoints } from './api/admin/admin-endpoints.js';
import { createAnswerTimes } from './api/admin/answer-times.js';
import { startProcessSampler } from './api/admin/process-sampler.js';
import { clientEndpoints } from './api/client/client-endpoints.js';
import type { Endpoint } from './api/endpoint.js';
import { federationEndpoints } from './api/federation/federation-endpoints.js';
import type { Config } from './cli/config.js';
import { readAdminToken, readSigningKey } from './cli/read-secret-files.js';
import type { RunningServer } from './cli/serve.js';
import { startHttpServer } from './http/start-http-server.js';
import type { JsonObject } from './kernel/matrix/json.js';
import type { SigningKey } from './kernel/signatures/ed25519.js';
import { signingKeyOfSeed } from './kernel/signatures/ed25519.js';
import { createFillGap } from './partial-state/fill-gap.js';
import { Resyncs } from './partial-state/resyncs.js';
import { readTrustAnchors } from './remote/connections/read-trust-anchors.js';
import { createFederationClient } from './remote/federation-client.js';
import { createKeyRing } from './remote/key-ring.js';
import type { OutboundQueue } from './remote/outbound-queue.js';
import { createOutboundQueue } from './remote/outbound-queue.js';
import { joinAnyRoom } from './room/join/join-any-room.js';
import { receivePdus } from './room/receive-pdus.js';
import { RoomProgress } from './room/room-progress.js';
import { RoomQueues } from './room/room-queues.js';
import type { RoomServer } from './room/room-server.js';
import { sendEvent } from './room/send-event.js';
import { selfTest } from './self-test/self-test.js';
import { armCrashPoints } from './store/crash/crash-points.js';
import { readRecord } from './store/event-record.js';
import { servedBody } from './store/events.js';
import { lockFolder } from './store/folder/lock-folder.js';
import type { EventNid } from './store/nids.js';
import type { Store } from './store/open-store.js';
import { openStore } from './store/open-store.js';
import { loadRoomByNid } from './store/rooms.js';
import { putServerKey } from './store/server-keys.js';
import { FullStateWaiters } from './sync/full-state-waiters.js';
import { SyncNotifier } from './sync/sync-notifier.js';
import { nearPool } from './workers/near-pool.js';
import type { WorkerPool } from './workers/pool.js';
import { openWorkerPool } from './workers/pool.js';
import { collectOldGarbageSooner, compileReluctantly } from './workers/v8-flags.js';

/** How long our own key counts as valid for our own events: for as long as the process can run. */
const OWN_KEY_VALID_MS = 100 * 365 * 24 * 60 * 60 * 1000;
/** Rounds of some 200 events in each of a thread's two tasks: one to two seconds; more make no first join quicker. */
const WARM_UP_ROUNDS = 20;
/** Rooms whose progress is kept in memory. */
const PROGRESS_ROOMS_MAX = 1000;

/** Starts a server; while it runs nobody else gets its data folder. */
export async function startServer(config: Config): Promise<RunningServer> {
  const { caFile } = config.federation;
  const trustAnchors = caFile === undefined ? undefined : readTrustAnchors(caFile);
  const lock = lockFolder(config.dataDir);
  // A process that is told to end while it starts ends at once.
  process.once('exit', () => lock.release());
  try {
    const server = await startLocked(config, trustAnchors);
    return {
      ...server,
      close: async (deadlineMs) => {
        await server.close(deadlineMs);
        lock.release();
      },
    };
  } catch (error) {
    lock.release();
    throw error;
  }
}

async function startLocked(config: Config, trustAnchors: string | undefined): Promise<RunningServer> {
  collectOldGarbageSooner();
  const log = pino({ level: config.log.level }, pino.destination({ dest: 2, sync: false }));
  const { keyId, seed } = readSigningKey(config.signingKeyPath);
  const signingKey = signingKeyOfSeed(config.serverName, keyId, seed);
  const store = openStore(config.dataDir, config.serverName);
  keepOwnKey(store, signingKey);
  const threads = await openWorkerPool({ threads: config.workers.threads, storePath: store.path });
  await Promise.all([warmUpThreads(threads, config.workers.threads), selfTest(log)]);
  const pool = nearPool(threads, store);
  compileReluctantly();
  const { federation } = config;
  const client = createFederationClient({
    signingKey,
    hosts: federation.hosts,
    ca: trustAnchors,
    verifyCertificates: federation.verifyCertificates,
    allowRanges: federation.allowRanges,
    clock: Date.now,
  });
  const keys = createKeyRing({ store, client, notaries: federation.keyServers, own: signingKey, clock: Date.now, log });
  const notifier = new SyncNotifier();
  const waiters = new FullStateWaiters(store, Date.now);
  const outbound: OutboundQueue = createOutboundQueue({
    store,
    client,
    serverName: config.serverName,
    loadPdu: (event) => loadPdu(store, event),
    clock: Date.now,
    random: Math.random,
    log,
  });
  const server: RoomServer = {
    serverName: config.serverName,
    signingKey,
    store,
    pool,
    keys,
    client,
    queues: new RoomQueues(),
    progressOf: progressByRoom(),
    clock: Date.now,
    random: Math.random,
    log,
    onTimelineEvent: (room, event) => {
      waiters.onTimelineEvent(room, event);
      notifier.notify(room);
      resyncs.followRoom(room);
    },
    onQueued: (destinations) => outbound.wake(destinations),
  };
  const resyncs = new Resyncs(
    server,
    (room) => {
      waiters.completed(room);
      notifier.notify(room);
    },
    (room) => waiters.failedForNow(room),
  );
  const fillGap = createFillGap(server);
  const sampler = startProcessSampler(pool);
  const answerTimes = createAnswerTimes(() => performance.now());
  const endpoints = {
    federation: federationEndpoints(server, {
      onCaller: (origin) => outbound.otherSideCalled(origin),
      receivePdus: (origin, roomId, pdus) => receivePdus(server, origin, roomId, pdus, fillGap),
    }),
    client: clientEndpoints(server, {
      registrationEnabled: config.registration.enabled,
      defaultRoomVersion: config.defaultRoomVersion,
      partialJoins: federation.partialJoins,
      waiters,
      sync: notifier,
      rooms: {
        join: async (request) => {
          await joinAnyRoom(server, request);
          server.progressOf(request.roomId).start('room_usable', 1);
          server.progressOf(request.roomId).end('room_usable');
          resyncs.start(request.roomId);
        },
        send: (roomId, sender, { type, stateKey, content }, alongside) =>
          sendEvent(server, roomId, { type, sender, stateKey, content }, alongside),
      },
    }),
    admin:
      config.admin === undefined
        ? []
        : adminEndpoints(server, {
            token: readAdminToken(config.admin.tokenFile),
            processReport: () => ({ ...sampler.report(), answers: answerTimes.report() }),
            tryResyncNow: (roomId) => resyncs.tryNow(roomId),
          }),
  };
  const http = await startHttpServer({
    listeners: config.listeners.map(({ bind, port, serve, tls }) => ({
      bind,
      port,
      endpoints: serve.flatMap((api): readonly Endpoint[] => endpoints[api]).map(answerTimes.timed),
      ...(tls === undefined ? {} : { tls }),
    })),
    log,
  });
  armCrashPoints();
  outbound.start();
  resyncs.resumeAll();
  return {
    addresses: addressesOf(config, http.addresses),
    close: async (deadlineMs) => {
      // Who waits for news or for full state is answered now: the requests in progress are waited for.
      notifier.close();
      waiters.close();
      await http.close(deadlineMs);
      await resyncs.close();
      await outbound.close();
      await client.close();
      sampler.stop();
      await pool.close();
      await store.close();
    },
  };
}

/** Every thread proves that it verifies and authorises, and is warm for the first join. */
async function warmUpThreads(pool: WorkerPool, threads: number): Promise<void> {
  // Two tasks a thread are taken at once, so that each thread gets its share.
  await Promise.all(Array.from({ length: threads * 2 }, () => pool.run('warmUp', { rounds: WARM_UP_ROUNDS }, 'bulk')));
}

/** Our own key stands beside the others', so that workers verify our events like anybody's. */
function keepOwnKey(store: Store, { serverName, keyId, publicKey }: SigningKey): void {
  store.write((writer) =>
    putServerKey(writer, serverName, keyId, { publicKey, validUntilTs: Date.now() + OWN_KEY_VALID_MS, expired: false }),
  );
}

function progressByRoom(): (roomId: string) => RoomProgress {
  const byRoom = new Map<string, RoomProgress>();
  return (roomId) => {
    let progress = byRoom.get(roomId);
    if (progress === undefined) {
      const [oldest] = byRoom.keys();
      if (byRoom.size >= PROGRESS_ROOMS_MAX && oldest !== undefined) byRoom.delete(oldest);
      progress = new RoomProgress(Date.now);
      byRoom.set(roomId, progress);
    }
    return progress;
  };
}

function loadPdu(store: Store, event: EventNid): JsonObject | undefined {
  const bytes = store.tables.event_record_by_nid.getBinaryFast(event);
  const room = bytes === undefined ? undefined : loadRoomByNid(store, readRecord(bytes).roomNid);
  const body = room === undefined ? undefined : servedBody(store, room.rules, event);
  return body === undefined ? undefined : (JSON.parse(body.toString('utf8')) as JsonObject);
}

function addressesOf(config: Config, bound: readonly { readonly bind: string; readonly port: number }[]) {
  return config.listeners.flatMap(({ serve, tls }, i) =>
    serve.map((api) => ({ api, url: `${tls === undefined ? 'http' : 'https'}://${bound[i]?.bind}:${bound[i]?.port}` })),
  );
}
