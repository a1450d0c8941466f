/**
 * Question: how many events a second does a server take in that other servers push to it, each transaction answered when its
 * events are verified, authorised and on disk?
 *
 * Workload: a real `joinery serve` process, TLS on loopback, X-Matrix, messages in transactions of 50 PDUs, each after the
 * one before it; one origin that waits for each answer, and four origins at once, each into a room of its own. All are made
 * and signed before the clock starts. The caller shares the machine's cores with the server. Cannot show: what a network
 * adds; rooms with large states; missing events.
 */

import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Pool } from 'undici';
import type { EventRef } from '../scripts/hq/room/events/build-event.js';
import { signingKeyLine } from '../scripts/hq/room/plan/names.js';
import { type SmallRoom, writeSmallRoom } from '../scripts/hq/room/small-room.js';
import { type ServerProcess, startServer } from '../scripts/hq/server-process.js';
import { generate } from '../src/cli/generate.js';
import { makeCertificate } from '../src/cli/make-certificate.js';
import type { EventId, RoomId, ServerName, UserId } from '../src/kernel/matrix/ids.js';
import type { JsonObject } from '../src/kernel/matrix/json.js';
import { parseJsonObject } from '../src/kernel/matrix/parse-json.js';
import { xMatrixHeader } from '../src/kernel/signatures/x-matrix.js';
import { eventStatuses } from '../src/store/event-status.js';
import { eventNidOf, isAccepted } from '../src/store/events.js';
import { openStore } from '../src/store/open-store.js';
import type { BenchReport, BenchSize } from './measure.js';
import { measure } from './measure.js';
import { benchKey } from './signed-room.js';
import { storeKeys } from './stored-room.js';

/** As many PDUs as a transaction may have. */
const PDUS: Readonly<Record<BenchSize, number>> = { smoke: 5, full: 50 };
/** Transactions of one run, all origins together. */
const TRANSACTIONS: Readonly<Record<BenchSize, number>> = { smoke: 4, full: 8 };
const ORIGINS = 4;
const SERVER = 'joinery.test' as ServerName;
const FIRST_TS = 1_720_000_000_000;

/** A server that pushes messages into its room, and what it has pushed so far. */
interface Origin {
  readonly name: ServerName;
  readonly userId: UserId;
  readonly room: SmallRoom;
  last: EventRef;
  sent: number;
}

interface Transaction {
  readonly path: string;
  readonly authorization: string;
  readonly body: string;
  readonly eventIds: readonly EventId[];
}

export async function run(size: BenchSize): Promise<BenchReport> {
  const folder = await mkdtemp(join(tmpdir(), 'joinery-bench-'));
  const pdus = PDUS[size];
  const each = TRANSACTIONS[size] / ORIGINS;
  let server: ServerProcess | undefined;
  let pool: Pool | undefined;
  try {
    const files = await generateServer(folder);
    const dataDir = join(folder, 'data');
    const origins = await writeRooms(dataDir);
    server = await startServer({ serverName: SERVER, dir: folder, config: files.config, adminToken: '' });
    const ca = await readFile(files.caCert, 'utf8');
    const connections = new Pool(server.urls.federation, { connections: ORIGINS, connect: { ca, servername: SERVER } });
    pool = connections;

    const answered: EventId[] = [];
    const pushAll = async (queues: readonly (readonly Transaction[])[]): Promise<void> => {
      await Promise.all(
        queues.map(async (queue) => {
          for (const transaction of queue) answered.push(...(await push(connections, transaction)));
        }),
      );
    };
    let next: Transaction[][] = [];
    const oneOrigin = () => {
      next = [transactionsOf(origins[0] as Origin, each * ORIGINS, pdus)];
    };
    const allOrigins = () => {
      next = origins.map((origin) => transactionsOf(origin, each, pdus));
    };
    // The answer: what was pushed in one run of each task.
    for (const prepare of [oneOrigin, allOrigins]) {
      prepare();
      await pushAll(next);
    }
    const first = [...answered].sort().join();
    const report = await measure(`inbound transactions of ${pdus} PDUs`, size, pdus * each * ORIGINS, first, [
      { name: 'one origin, one after another', prepare: oneOrigin, run: () => pushAll(next) },
      { name: `${ORIGINS} origins at once, a room each`, prepare: allOrigins, run: () => pushAll(next) },
    ]);
    await server.stop();
    await checkStored(dataDir, origins, answered);
    return report;
  } finally {
    await pool?.destroy();
    await server?.kill();
    await rm(folder, { recursive: true, force: true });
  }
}

async function generateServer(dir: string): Promise<{ readonly config: string; readonly caCert: string }> {
  const ca = await makeCertificate({ commonName: 'Joinery bench CA', altNames: ['ca.test'], isCa: true });
  const { config, signingKey, caCert } = await generate({
    serverName: SERVER,
    dir,
    clientPort: 0,
    federationPort: 0,
    federation: { allowRanges: ['127.0.0.0/8'] },
    ca,
  });
  if (caCert === undefined) throw new Error('generate has left no ca_file');
  // The same key in each run, as all of the workload.
  await writeFile(signingKey, signingKeyLine(benchKey(SERVER)));
  return { config, caCert };
}

/** A room for each origin, with a member there and one here. */
async function writeRooms(dataDir: string): Promise<Origin[]> {
  const store = openStore(dataDir, SERVER);
  try {
    return Array.from({ length: ORIGINS }, (_, i) => {
      const name = `origin${i}.test` as ServerName;
      const userId = `@sender:${name}` as UserId;
      storeKeys(store, [benchKey(name)]);
      const room = writeSmallRoom(store, {
        roomId: `!inbound${i}:${SERVER}` as RoomId,
        serverName: SERVER,
        keyOf: (server) => benchKey(server),
        userIds: [`@owner:${SERVER}` as UserId, userId],
      });
      return { name, userId, room, last: room.last, sent: 0 };
    });
  } finally {
    await store.close();
  }
}

/** The next transactions of an origin. */
function transactionsOf(origin: Origin, count: number, pdus: number): Transaction[] {
  return Array.from({ length: count }, () => {
    const texts: string[] = [];
    const eventIds: EventId[] = [];
    for (let i = 0; i < pdus; i++) {
      const n = origin.sent++;
      const content = { msgtype: 'm.text', body: `Message ${n}: "quotes", back\\slashes, é, 漢字 and 🙂.` };
      const message = origin.room.message(origin.userId, origin.last, content, FIRST_TS + n);
      origin.last = message;
      texts.push(message.text);
      eventIds.push(message.id);
    }
    const path = `/_matrix/federation/v1/send/t${origin.sent}`;
    const body = `{"origin":"${origin.name}","origin_server_ts":${FIRST_TS},"pdus":[${texts.join()}]}`;
    const content = JSON.parse(body) as JsonObject;
    const signed = { method: 'PUT', uri: path, origin: origin.name, destination: SERVER, content };
    return { path, authorization: xMatrixHeader(signed, benchKey(origin.name)), body, eventIds };
  });
}

/** Pushes a transaction; the events that were taken in. Throws unless it was all of them. */
async function push(pool: Pool, { path, authorization, body, eventIds }: Transaction): Promise<readonly EventId[]> {
  const headers = { authorization, 'content-type': 'application/json' };
  const answer = await pool.request({ method: 'PUT', path, headers, body });
  const text = await answer.body.text();
  const parsed = parseJsonObject(text, false);
  const taken = parsed.ok ? ((parsed.value.pdus ?? {}) as JsonObject) : {};
  if (answer.statusCode !== 200 || !eventIds.every((eventId) => JSON.stringify(taken[eventId]) === '{}')) {
    throw new Error(`${path} was answered ${answer.statusCode} ${text.slice(0, 500)}`);
  }
  return eventIds;
}

/** Every event that was answered is stored and accepted, and as many as were pushed. */
async function checkStored(dataDir: string, origins: readonly Origin[], answered: readonly EventId[]): Promise<void> {
  const pushed = origins.reduce((sum, { sent }) => sum + sent, 0);
  if (new Set(answered).size !== pushed) throw new Error(`${pushed} events were pushed, ${answered.length} answered`);
  const store = openStore(dataDir, SERVER);
  try {
    for (const eventId of answered) {
      const nid = eventNidOf(store, eventId);
      const [status] = nid === undefined ? [] : eventStatuses(store, nid, 1);
      if (status === undefined || !isAccepted(status)) throw new Error(`${eventId} was answered and is not accepted`);
    }
  } finally {
    await store.close();
  }
}
