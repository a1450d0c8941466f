/**
 * Writes a rehearsal room as the resident's data folder, through the store like any other writer: every event accepted,
 * as the resident believes them all, and the manifest beside it.
 *
 * Guards: one transaction per few thousand events, so that memory stays bounded; state NIDs first, then the auth chain.
 * Keys of the origin servers are not written here but per run (server-keys.ts), because they are valid for a time.
 */

import type { RoomId, UserId } from '../../../src/kernel/matrix/ids.js';
import { StatusBit, setEventStatuses, Verdict } from '../../../src/store/event-status.js';
import { eventIdOfNid, putEventKey } from '../../../src/store/events.js';
import type { EventNid, StreamPosition } from '../../../src/store/nids.js';
import type { Store, StoreWriter } from '../../../src/store/open-store.js';
import { openStore, takeNumbers } from '../../../src/store/open-store.js';
import { addJoinedCounts, internRoom, putRoom } from '../../../src/store/rooms.js';
import { internStateKey, putStateGroup } from '../../../src/store/state-groups.js';
import { appendToStream, putEventContext, putEventPrevs, putLocalMembership } from '../../../src/store/timeline.js';
import { putAccessToken, putUser } from '../../../src/store/users.js';
import { type BuiltEvent, buildEvent, type EventRef, ROOM_NID } from './events/build-event.js';
import { RESIDENT_USERS } from './events/build-shard.js';
import { buildShards } from './events/build-shards.js';
import { buildSpine, roundTs, type Spine } from './events/build-spine.js';
import { type EventPack, packEvents } from './events/event-pack.js';
import { type Manifest, writeManifest } from './manifest.js';
import { accessToken } from './plan/names.js';
import { BUILDER_FORMAT, extremityNid, RESIDENT, type RoomShape, SPINE_ROUNDS, shardShape } from './plan/room-shape.js';
import { stateHash } from './state-hash.js';
import { Tally } from './tally.js';

/** Events in one transaction: some 30 MB of dirty pages. */
const TRANSACTION_EVENTS = 4_096;
/** The resident's users have tokens only; no password's hash is this. */
const NO_PASSWORD = '!';

export interface WriteOptions {
  /** Where the resident's store goes. */
  readonly dataDir: string;
  /** Where the manifest goes. */
  readonly folder: string;
  /** 0: no other than this one. */
  readonly threads: number;
  /** Called with the number of events written so far. */
  readonly onProgress: (events: number) => void;
}

/** Builds the room of a shape into a data folder. */
export async function writeDataFolder(shape: RoomShape, options: WriteOptions): Promise<Manifest> {
  const store = openStore(options.dataDir, RESIDENT);
  try {
    const spine = buildSpine(shape);
    const tally = new Tally();
    tally.addSpine(spine, writeSpine(store, spine));
    for await (const shard of buildShards(shape, spine, options.threads)) {
      writeEvents(store, shard.pack);
      // In shard order, so that the n-th state event has the n-th place of the state.
      store.write((writer) => {
        for (const userId of shard.userIds) internStateKey(writer, ROOM_NID, 'm.room.member', userId);
      });
      tally.addShard(shape, shard);
      options.onProgress(tally.events);
    }
    if (tally.events !== shape.events) throw new Error(`built ${tally.events} events, not ${shape.events}`);
    const extremity = buildExtremity(store, shape, spine, tally.heads);
    writeRoom(store, shape, spine, tally, extremity);
    const manifest = manifestOf(shape, spine, tally, extremity);
    await writeManifest(options.folder, manifest, tally.expectedState);
    return manifest;
  } finally {
    await store.close();
  }
}

function writeSpine(store: Store, spine: Spine): EventPack {
  const pack = packEvents(spine.events);
  store.write((writer) => {
    if (internRoom(writer, spine.builder.roomId as RoomId) !== ROOM_NID) throw new Error('the store is not empty');
    for (const [type, stateKey] of spine.stateKeys) internStateKey(writer, ROOM_NID, type, stateKey);
  });
  writeEvents(store, pack);
  return pack;
}

/** Writes accepted events. Bodies, records and statuses in order of NID; the index of keys in order of key. */
export function writeEvents(store: Store, pack: EventPack): void {
  const order = Array.from(pack.nids.keys()).sort((a, b) => nidAt(pack, a) - nidAt(pack, b));
  const keys = Buffer.from(pack.keys.buffer, pack.keys.byteOffset, pack.keys.length);
  const keyAt = (i: number): Buffer => keys.subarray(32 * i, 32 * i + 32);
  const byKey = [...order].sort((a, b) => keyAt(a).compare(keyAt(b)));
  for (let from = 0; from < order.length; from += TRANSACTION_EVENTS) {
    store.write((writer) => {
      const part = order.slice(from, from + TRANSACTION_EVENTS);
      for (const i of part) putPacked(writer, pack, i);
      const status = Verdict.accepted | StatusBit.outlier;
      setEventStatuses(
        writer,
        Uint32Array.from(part, (i) => nidAt(pack, i)),
        () => status,
      );
      for (const i of byKey.slice(from, from + TRANSACTION_EVENTS)) {
        putEventKey(writer, keyAt(i), nidAt(pack, i) as EventNid);
      }
    });
  }
}

function nidAt(pack: EventPack, i: number): number {
  return pack.nids[i] as number;
}

function putPacked(writer: StoreWriter, pack: EventPack, i: number): void {
  const nid = nidAt(pack, i);
  const part = (bytes: Uint8Array, offsets: Uint32Array): Buffer => {
    const start = offsets[i] as number;
    return Buffer.from(bytes.buffer, bytes.byteOffset + start, (offsets[i + 1] as number) - start);
  };
  writer.tables.event_body_by_nid.put(nid, part(pack.bodies, pack.bodyOffsets));
  writer.tables.event_record_by_nid.put(nid, part(pack.records, pack.recordOffsets));
}

interface Extremity {
  readonly event: BuiltEvent;
  readonly prevs: readonly EventRef[];
}

/** P, the one forward extremity: a message of the resident's first user after the newest events of all shards. */
function buildExtremity(store: Store, shape: RoomShape, spine: Spine, heads: readonly EventRef[]): Extremity {
  const { powerLevels } = spine.rounds[SPINE_ROUNDS] as Spine['rounds'][number];
  const memberNid = residentMemberNids(shape)[0] as EventNid;
  const member: EventRef = { id: eventIdOfNid(store, memberNid), nid: memberNid, depth: 0 };
  const plan = {
    nid: extremityNid(shape),
    type: 'm.room.message',
    stateKey: undefined,
    sender: RESIDENT_USERS[0] as string,
    content: { body: 'Is this on?', msgtype: 'm.text' },
    originServerTs: roundTs(SPINE_ROUNDS + 1),
    prevs: heads,
  };
  const event = buildEvent(spine.builder, plan, (type) => {
    if (type === 'm.room.create') return spine.create;
    return type === 'm.room.power_levels' ? powerLevels : member;
  });
  return { event, prevs: heads };
}

function residentMemberNids(shape: RoomShape): EventNid[] {
  const { firstStateNid } = shardShape(shape, 0);
  return RESIDENT_USERS.map((_, i) => (firstStateNid + i) as EventNid);
}

/** Everything that makes the events a room that the resident is in. */
function writeRoom(store: Store, shape: RoomShape, spine: Spine, tally: Tally, extremity: Extremity): void {
  const nid = extremityNid(shape) as EventNid;
  writeEvents(store, packEvents([extremity.event]));
  store.write((writer) => {
    takeNumbers(writer, 'next_event_nid', nid);
    // The n-th state event has NID n and place n - 1.
    const group = putStateGroup(
      writer,
      Uint32Array.from({ length: shape.stateEvents }, (_, place) => place + 1),
    );
    setEventStatuses(writer, [nid], () => Verdict.accepted);
    putEventContext(writer, nid, { before: group, after: group });
    putEventPrevs(
      writer,
      nid,
      extremity.prevs.map((prev) => prev.nid as EventNid),
    );
    const position = appendToStream(writer, ROOM_NID, nid);
    putRoom(writer, ROOM_NID, {
      roomId: spine.builder.roomId as RoomId,
      version: shape.roomVersion,
      residency: 'full-state',
      createNid: spine.create.nid as EventNid,
      currentGroup: group,
      extremities: [nid],
    });
    addJoinedCounts(writer, ROOM_NID, tally.joinedByServer);
    for (const [i, event] of residentMemberNids(shape).entries()) {
      putResidentUser(writer, shape, RESIDENT_USERS[i] as UserId, event, position);
    }
  });
}

function putResidentUser(
  writer: StoreWriter,
  shape: RoomShape,
  userId: UserId,
  event: EventNid,
  position: StreamPosition,
): void {
  putUser(writer, userId, { passwordHash: NO_PASSWORD, createdTs: roundTs(0) });
  putAccessToken(writer, accessToken(shape.seed, userId), { userId, deviceId: 'HARNESS' });
  putLocalMembership(writer, userId, ROOM_NID, { membership: 'join', event, position });
}

function manifestOf(shape: RoomShape, spine: Spine, tally: Tally, extremity: Extremity): Manifest {
  return {
    format: BUILDER_FORMAT,
    seed: shape.seed,
    room_version: shape.roomVersion,
    room_id: spine.builder.roomId,
    resident: RESIDENT,
    resident_users: RESIDENT_USERS.map((userId) => ({
      user_id: userId,
      access_token: accessToken(shape.seed, userId),
    })),
    events: shape.events,
    state_events: shape.stateEvents,
    expected_state_events: tally.expectedState.size,
    members: tally.members,
    servers: tally.joinedByServer.size,
    pdu_bytes: tally.pduBytes,
    forward_extremity: extremity.event.id,
    state_hash: stateHash(tally.expectedState),
    planted: tally.planted,
  };
}
