/**
 * Writes a rehearsal room as the resident's data folder, through the store like any other writer: every event accepted,
 * as the resident believes them all, and the manifest beside it.
 *
 * Guards: one transaction per few thousand events, so that memory stays bounded; state NIDs first, then the auth chain.
 */

import { createWriteStream } from 'node:fs';
import { writeFile } from 'node:fs/promises';
import { finished } from 'node:stream/promises';
import type { EventId, RoomId, ServerName, UserId } from '../../../src/kernel/matrix/ids.js';
import { eventIdOfHash } from '../../../src/kernel/matrix/event-key.js';
import { setEventStatuses, StatusBit, Verdict } from '../../../src/store/event-status.js';
import { putEventKey } from '../../../src/store/events.js';
import type { EventNid } from '../../../src/store/nids.js';
import type { Store, StoreWriter } from '../../../src/store/open-store.js';
import { openStore, takeNumbers } from '../../../src/store/open-store.js';
import { addJoinedCounts, internRoom, putRoom } from '../../../src/store/rooms.js';
import { internStateKey, putStateGroup } from '../../../src/store/state-groups.js';
import { appendToStream, putEventContext, putEventPrevs, putLocalMembership } from '../../../src/store/timeline.js';
import { putAccessToken, putUser } from '../../../src/store/users.js';
import { type BuiltEvent, buildEvent, type EventRef, ROOM_NID } from './build-event.js';
import { RESIDENT_USERS } from './build-shard.js';
import { buildShards } from './build-shards.js';
import { buildSpine, roundTs, type Spine } from './build-spine.js';
import { type EventPack, EventPacker } from './event-pack.js';
import type { Manifest, PlantedEvent, StateIds } from './manifest.js';
import { expectedStatePath, manifestPath, stateKeyText } from './manifest.js';
import { accessToken } from './names.js';
import { BUILDER_FORMAT, extremityNid, RESIDENT, type RoomShape, SPINE_ROUNDS } from './room-shape.js';
import { stateHash } from './state-hash.js';

/** Events in one transaction: some 30 MB of dirty pages. */
const TRANSACTION_EVENTS = 4_096;

/** What is added up while the shards come in. */
interface Tally {
  readonly state: StateIds;
  readonly planted: PlantedEvent[];
  readonly heads: EventRef[];
  readonly joinedByServer: Map<ServerName, number>;
  readonly memberKeys: Map<number, Buffer>;
  events: number;
  pduBytes: number;
  /** Joined members that a joining server will believe in. */
  members: number;
}

/** Where building stands; called after each shard. */
export type BuildProgress = (eventsDone: number) => void;

/** Builds the room into `folder`/data, with its manifest in `folder`. */
export async function writeDataFolder(
  shape: RoomShape,
  dataDir: string,
  folder: string,
  threads: number,
  onProgress: BuildProgress,
): Promise<Manifest> {
  const store = openStore(dataDir, RESIDENT);
  try {
    const spine = buildSpine(shape);
    const tally = newTally();
    writeSpine(store, spine, tally);
    onProgress(tally.events);
    for await (const shard of buildShards(shape, spine, threads)) {
      writeShardEvents(store, shard.pack);
      tallyShard(tally, shard);
      store.write((writer) => {
        for (const userId of shard.userIds) internStateKey(writer, ROOM_NID, 'm.room.member', userId);
      });
      onProgress(tally.events);
    }
    if (tally.events !== shape.events) throw new Error(`built ${tally.events} events, not ${shape.events}`);
    const extremity = buildExtremity(shape, spine, tally);
    writeRoom(store, shape, spine, tally, extremity);
    return await writeManifest(folder, manifestOf(shape, spine, tally, extremity), tally.state);
  } finally {
    await store.close();
  }
}

function newTally(): Tally {
  return {
    state: new Map(),
    planted: [],
    heads: [],
    joinedByServer: new Map(),
    memberKeys: new Map(),
    events: 0,
    pduBytes: 0,
    members: 0,
  };
}

function writeSpine(store: Store, spine: Spine, tally: Tally): void {
  const packer = new EventPacker();
  for (const event of spine.events) packer.add(event);
  store.write((writer) => {
    if (internRoom(writer, spine.builder.roomId as RoomId) !== ROOM_NID) throw new Error('the store is not empty');
    for (const [type, stateKey] of spine.stateKeys) internStateKey(writer, ROOM_NID, type, stateKey);
  });
  const pack = packer.pack();
  writeShardEvents(store, pack);
  const idByNid = new Map(spine.events.map((event) => [event.nid, event.id]));
  for (const [i, [type, stateKey]] of spine.stateKeys.entries()) {
    tally.state.set(stateKeyText(type, stateKey), idByNid.get(i + 1) as string);
    if (type === 'm.room.member') countMember(tally, stateKey, 1);
  }
  tally.events += spine.events.length;
  tally.pduBytes += pack.bodies.length;
}

function countMember(tally: Tally, userId: string, believed: 0 | 1): void {
  const server = userId.slice(userId.indexOf(':') + 1) as ServerName;
  tally.joinedByServer.set(server, (tally.joinedByServer.get(server) ?? 0) + 1);
  tally.members += believed;
}

function tallyShard(tally: Tally, shard: Awaited<ReturnType<ReturnType<typeof buildShards>['next']>>['value']): void {
  const keyByNid = new Map<number, EventId>();
  const keys = Buffer.from(shard.pack.keys.buffer, shard.pack.keys.byteOffset, shard.pack.keys.length);
  for (const [i, nid] of shard.pack.nids.entries()) keyByNid.set(nid, eventIdOfHash(keys.subarray(32 * i, 32 * i + 32)));
  const refused = new Set(
    shard.planted.filter((planted) => planted.verdict !== 'redacted' && planted.in_state).map((one) => one.state_key),
  );
  const firstNid = Math.min(...firstAndFinal(shard));
  for (const [i, userId] of shard.userIds.entries()) {
    const believed = !refused.has(userId);
    if (believed) tally.state.set(stateKeyText('m.room.member', userId), keyByNid.get(firstNid + i) as string);
    if (shard.memberships[i] === 'join') countMember(tally, userId, believed ? 1 : 0);
  }
  tally.planted.push(...shard.planted);
  tally.heads.push(shard.head);
  tally.events += shard.pack.nids.length;
  tally.pduBytes += shard.pack.bodies.length;
}
