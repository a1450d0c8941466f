/**
 * The folders of one run: two servers' configurations under one certificate authority made for this run, the resident's
 * copy of the room, and a data folder for the joiner that holds nothing but a small room of its own (other-room.ts).
 *
 * Everything listens on loopback. The closed network is in the `hosts` maps: each server knows the other, the origin
 * servers are the harness's sink, and the servers without keys are a port at which nobody listens.
 */

import { readFile, writeFile } from 'node:fs/promises';
import { createServer } from 'node:net';
import { join } from 'node:path';
import { generate } from '../../src/cli/generate.js';
import { makeCertificate } from '../../src/cli/make-certificate.js';
import { readSigningKey } from '../../src/cli/read-secret-files.js';
import type { TlsFiles } from '../../src/http/check-tls-files.js';
import type { ServerName } from '../../src/kernel/matrix/ids.js';
import type { JsonObject } from '../../src/kernel/matrix/json.js';
import { roomVersionRules } from '../../src/kernel/matrix/room-versions.js';
import { signingKeyOfSeed } from '../../src/kernel/signatures/ed25519.js';
import { loadBody } from '../../src/store/events.js';
import type { EventNid } from '../../src/store/nids.js';
import { openStore, type Store } from '../../src/store/open-store.js';
import type { HqOptions } from './options.js';
import { sinkTlsFiles } from './origin-sink.js';
import { withRightSignature } from './room/events/build-event.js';
import type { Manifest } from './room/manifest.js';
import { type OtherRoom, writeOtherRoom } from './room/other-room.js';
import { signingKeyLine, signingKeyOf } from './room/plan/names.js';
import { DEAD_SUFFIX, JOINER, ORIGIN_SUFFIX, RESIDENT, roomShape } from './room/plan/room-shape.js';
import { type CachedRoom, copyDataFolder } from './room/room-cache.js';
import { writeServerKeys } from './room/server-keys.js';

const LOOPBACK = '127.0.0.1';

export interface ServerFolder {
  readonly serverName: string;
  readonly dir: string;
  readonly config: string;
  readonly adminToken: string;
}

export interface RunFolders {
  readonly resident: ServerFolder;
  readonly joiner: ServerFolder;
  readonly residentDataDir: string;
  readonly sinkPort: number;
  readonly sinkTls: TlsFiles;
  /** A room of the joiner's own. */
  readonly otherRoom: OtherRoom;
}

/** Prepares a run in `dir`. */
export async function prepareRun(
  dir: string,
  room: CachedRoom,
  manifest: Manifest,
  options: HqOptions,
): Promise<RunFolders> {
  const [residentPort, joinerPort, sinkPort, closedPort] = await freePorts(4);
  const ca = await makeCertificate({ commonName: 'Joinery rehearsal CA', altNames: ['ca.test'], isCa: true });
  const sinkCertificate = await makeCertificate({
    commonName: `*.${ORIGIN_SUFFIX}`,
    altNames: [`*.${ORIGIN_SUFFIX}`],
    ca,
  });
  const hosts: Record<string, string> = {
    [RESIDENT]: `${LOOPBACK}:${residentPort}`,
    [JOINER]: `${LOOPBACK}:${joinerPort}`,
    [`*.${DEAD_SUFFIX}`]: `${LOOPBACK}:${closedPort}`,
    [`*.${ORIGIN_SUFFIX}`]: `${LOOPBACK}:${sinkPort}`,
  };
  const make = async (serverName: string, federationPort: number, keyServers: string[]): Promise<ServerFolder> => {
    const serverDir = join(dir, serverName);
    const files = await generate({
      serverName,
      dir: serverDir,
      clientPort: 0,
      federationPort,
      registrationEnabled: true,
      ...(serverName === JOINER ? { threads: options.threads } : {}),
      federation: { allowRanges: ['127.0.0.0/8'], hosts, keyServers },
      ca,
    });
    const adminToken = (await readFile(files.adminToken, 'utf8')).trim();
    await adjustConfig(files.config, options.full && serverName === JOINER);
    return { serverName, dir: serverDir, config: files.config, adminToken };
  };
  const resident = await make(RESIDENT, residentPort as number, []);
  const joiner = await make(JOINER, joinerPort as number, [RESIDENT]);
  const { keyId, seed } = readSigningKey(join(joiner.dir, 'signing.key'));
  const otherRoom = await writeOtherRoom(join(joiner.dir, 'data'), signingKeyOfSeed(JOINER as ServerName, keyId, seed));
  const residentDataDir = join(resident.dir, 'data');
  await copyDataFolder(room, residentDataDir);
  await writeFile(join(resident.dir, 'signing.key'), signingKeyLine(signingKeyOf(manifest.seed, RESIDENT)));
  await completeDataFolder(residentDataDir, manifest, options);
  const sinkTls = sinkTlsFiles(dir);
  await writeFile(sinkTls.cert, sinkCertificate.cert);
  await writeFile(sinkTls.key, sinkCertificate.key, { mode: 0o600 });
  return { resident, joiner, residentDataDir, sinkPort: sinkPort as number, sinkTls, otherRoom };
}

/** Quiet logs, and the full send_join where it is asked for: keys that `generate` has no option for. */
async function adjustConfig(file: string, full: boolean): Promise<void> {
  const text = await readFile(file, 'utf8');
  const quiet = text.replace('log: { level: info }', 'log: { level: warn }');
  const adjusted = full ? quiet.replace(/^federation:\n/m, 'federation:\n  partial_joins: false\n') : quiet;
  if (quiet === text || (full && adjusted === quiet)) throw new Error(`${file} is not as generate wrote it before`);
  await writeFile(file, adjusted);
}

async function completeDataFolder(dataDir: string, manifest: Manifest, options: HqOptions): Promise<void> {
  const store = openStore(dataDir, RESIDENT);
  try {
    writeServerKeys(store, roomShape(options), Date.now());
    if (options.sabotage) sabotage(store, manifest);
  } finally {
    await store.close();
  }
}

/** Gives a planted bad-signature event of the state the signature that its origin would have made. */
function sabotage(store: Store, manifest: Manifest): void {
  const victim = manifest.planted.find((planted) => planted.in_state && planted.code === 'bad-signature');
  const rules = roomVersionRules(manifest.room_version);
  const body = victim === undefined ? undefined : loadBody(store, victim.nid as EventNid);
  if (victim === undefined || rules === undefined || body === undefined) throw new Error('nothing to sabotage');
  const event = JSON.parse(body.toString('utf8')) as JsonObject;
  const server = victim.state_key.slice(victim.state_key.indexOf(':') + 1);
  const signed = withRightSignature(rules, event, signingKeyOf(manifest.seed, server));
  store.write((writer) => {
    writer.tables.event_body_by_nid.put(victim.nid, Buffer.from(JSON.stringify(signed), 'utf8'));
  });
}

/** Ports that nobody listens at now. All are held until the last is found, so that none is found twice. */
async function freePorts(count: number): Promise<number[]> {
  const servers = await Promise.all(
    Array.from({ length: count }, async () => {
      const server = createServer();
      await new Promise<void>((resolve, reject) => {
        server.once('error', reject);
        server.listen(0, LOOPBACK, resolve);
      });
      return server;
    }),
  );
  const ports = servers.map((server) => {
    const address = server.address();
    if (address === null || typeof address === 'string') throw new Error('a TCP listener has no port');
    return address.port;
  });
  await Promise.all(servers.map((server) => new Promise((resolve) => server.close(resolve))));
  return ports;
}
