/**
 * What a server does before it listens: it joins a made-up room that it serves to itself, through the code of every join and
 * over TLS on the loopback address, first with partial state, then completed; it must end with the state that was made up. A build that
 * would verify, resolve or store wrongly does not serve; and the first user's join finds the code compiled.
 *
 * In a temporary folder that is removed again. The worker threads test themselves, see workers/jobs/warm-up.ts.
 */

import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { federationEndpoints } from '../api/federation/federation-endpoints.js';
import type { EventId, KeyId, ServerName, UserId } from '../kernel/matrix/ids.js';
import type { RoomVersionRules } from '../kernel/matrix/room-versions.js';
import { roomVersionRules } from '../kernel/matrix/room-versions.js';
import type { SigningKey } from '../kernel/signatures/ed25519.js';
import { SEED_BYTES, signingKeyOfSeed } from '../kernel/signatures/ed25519.js';
import { Resyncs } from '../partial-state/resyncs.js';
import type { FederationClient } from '../remote/federation-client.js';
import { createKeyRing } from '../remote/key-ring.js';
import { joinRoom } from '../room/join/join-room.js';
import { RoomProgress } from '../room/room-progress.js';
import { RoomQueues } from '../room/room-queues.js';
import type { RoomLog, RoomServer } from '../room/room-server.js';
import { eventIdOfNid } from '../store/events.js';
import type { Store } from '../store/open-store.js';
import { openStore } from '../store/open-store.js';
import { loadRoom } from '../store/rooms.js';
import { stateEntries } from '../store/state-groups.js';
import { inlinePool } from '../workers/inline-pool.js';
import type { MadeUpRoom } from '../workers/made-up-room.js';
import { MADE_UP_RESIDENT, MADE_UP_ROOM, makeUpRoom } from '../workers/made-up-room.js';
import { openNetwork } from './network.js';
import { putMadeUpKey, storeMadeUpRoom } from './resident-room.js';

const ROOM_VERSION = '11';
/** A room of some 500 events: long enough for V8 to compile what a join runs through, in about a second. */
const MEMBERS = 120;
const POWER_LEVEL_CHANGES = 240;
/** Joins in a row, each into an empty store. */
const JOINS = 3;
const JOINER_NAME = 'joiner.invalid' as ServerName;
const JOINER_SEED = 99;
/** Everything is in this process: what takes longer hangs. */
const TIMEOUT_MS = 60_000;

export class SelfTestError extends Error {
  override readonly name = 'SelfTestError';
}

/** Throws SelfTestError when the join fails or ends in another state, twice: a machine that stood still misses deadlines. */
export async function selfTest(log: RoomLog): Promise<void> {
  try {
    await testOnce(log);
  } catch (error) {
    log.warn({ err: error }, 'the self-test failed, and is made once more');
    await testOnce(log);
  }
}

async function testOnce(log: RoomLog): Promise<void> {
  const rules = roomVersionRules(ROOM_VERSION) as RoomVersionRules;
  const room = makeUpRoom(rules, MEMBERS, POWER_LEVEL_CHANGES);
  const folder = await mkdtemp(join(tmpdir(), 'joinery-self-test-'));
  const closing: { close(): Promise<void> }[] = [];
  const open = (name: string, serverName: string): Store => {
    const store = openStore(join(folder, name), serverName);
    closing.push(store);
    return store;
  };
  try {
    const residentKey = room.keys[0] as SigningKey;
    const resident = serverOf(open('resident', residentKey.serverName), residentKey, nowhere, log);
    await storeMadeUpRoom(resident, rules, room);
    const joinerKey = signingKeyOfSeed(JOINER_NAME, 'ed25519:1' as KeyId, Buffer.alloc(SEED_BYTES, JOINER_SEED));
    resident.store.write((writer) => putMadeUpKey(writer, joinerKey, resident.clock()));
    const endpoints = federationEndpoints(resident, {
      onCaller: () => undefined,
      receivePdus: async () => new Map(),
    });
    const network = await openNetwork(folder, endpoints, joinerKey, log);
    closing.push(network);
    for (let n = 0; n < JOINS; n++) {
      await joinOnce(serverOf(open(`joiner-${n}`, JOINER_NAME), joinerKey, network.client, log), room, n);
    }
  } catch (error) {
    throw new SelfTestError(`self-test: ${error instanceof Error ? error.message : error}`, { cause: error });
  } finally {
    for (const opened of closing.reverse()) await opened.close();
    await rm(folder, { recursive: true, force: true });
  }
}

async function joinOnce(joiner: RoomServer, room: MadeUpRoom, n: number): Promise<void> {
  const userId = `@user${n}:${JOINER_NAME}` as UserId;
  const known = [room.keys[0] as SigningKey, joiner.signingKey];
  joiner.store.write((writer) => {
    for (const key of known) putMadeUpKey(writer, key, joiner.clock());
  });
  await joinRoom(joiner, {
    roomId: MADE_UP_ROOM,
    userId,
    candidates: [MADE_UP_RESIDENT],
    profile: {},
    partial: true,
  });
  await resync(joiner);
  checkState(joiner, room);
}

/** One round of resynchronisation. Throws when it does not complete. */
async function resync(joiner: RoomServer): Promise<void> {
  let timer: NodeJS.Timeout | undefined;
  let completed: () => void = () => undefined;
  const complete = new Promise<void>((resolve, reject) => {
    completed = resolve;
    timer = setTimeout(() => reject(new Error(`no full state after ${TIMEOUT_MS} ms`)), TIMEOUT_MS);
  });
  const resyncs = new Resyncs(joiner, completed);
  resyncs.start(MADE_UP_ROOM);
  try {
    await complete;
  } finally {
    clearTimeout(timer);
    // Also after a failure: it must not go on in a store that is closed.
    await resyncs.close();
  }
}

/** Everything that was made up is in the joiner's state, and nothing but the memberships of those who joined besides. */
function checkState(joiner: RoomServer, room: MadeUpRoom): void {
  const expected = new Map<string, EventId>();
  for (const { type, stateKey, eventId } of room.events) expected.set(`${type}\0${stateKey}`, eventId);
  const found = new Set<EventId>();
  const group = loadRoom(joiner.store, MADE_UP_ROOM)?.currentGroup;
  if (group === undefined) throw new Error('the room was not joined');
  for (const [, nid] of stateEntries(joiner.store, group)) found.add(eventIdOfNid(joiner.store, nid));
  for (const [key, eventId] of expected) {
    if (!found.has(eventId)) throw new Error(`the state lacks ${eventId} for ${key.replace('\0', ' ')}`);
  }
}

function serverOf(store: Store, signingKey: SigningKey, client: FederationClient, log: RoomLog): RoomServer {
  const progress = new RoomProgress(Date.now);
  const { serverName } = signingKey;
  const notaries = client === nowhere ? [] : [MADE_UP_RESIDENT];
  return {
    serverName,
    signingKey,
    store,
    pool: inlinePool(store),
    keys: createKeyRing({ store, client, notaries, own: signingKey, clock: Date.now }),
    client,
    queues: new RoomQueues(),
    progressOf: () => progress,
    clock: Date.now,
    random: Math.random,
    log,
    onTimelineEvent: () => undefined,
    onQueued: () => undefined,
  };
}

/** The resident asks nobody. */
const nowhere: FederationClient = {
  requestJson: async () => Promise.reject(new Error('the resident of a self-test has no network')),
  requestStream: async () => Promise.reject(new Error('the resident of a self-test has no network')),
  close: async () => undefined,
};
