/**
 * What is added up while a room's parts come in: the state that a joining server must end up with, the planted events,
 * and the counts that the store and the manifest need.
 */

import { eventIdOfHash } from '../../../src/kernel/matrix/event-key.js';
import type { ServerName, UserId } from '../../../src/kernel/matrix/ids.js';
import { serverNameOf } from '../../../src/kernel/matrix/ids.js';
import type { EventRef } from './events/build-event.js';
import type { BuiltShard } from './events/build-shard.js';
import type { Spine } from './events/build-spine.js';
import type { EventPack } from './events/event-pack.js';
import type { PlantedEvent, StateIds } from './manifest.js';
import { stateKeyText } from './manifest.js';
import { type RoomShape, shardShape } from './plan/room-shape.js';

export class Tally {
  /** The resident's state without what a joining server refuses. */
  readonly expectedState: StateIds = new Map();
  readonly planted: PlantedEvent[] = [];
  readonly heads: EventRef[] = [];
  /** As the resident believes. */
  readonly joinedByServer = new Map<ServerName, number>();
  /** The members that a joining server will believe in. */
  members = 0;
  events = 0;
  pduBytes = 0;

  addSpine(spine: Spine, pack: EventPack): void {
    const idByNid = new Map(spine.events.map((event) => [event.nid, event.id]));
    for (const [i, [type, stateKey]] of spine.stateKeys.entries()) {
      this.expectedState.set(stateKeyText(type, stateKey), idByNid.get(i + 1) as string);
      if (type === 'm.room.member') this.#countJoined(stateKey, true);
    }
    this.#countEvents(pack);
  }

  addShard(shape: RoomShape, shard: BuiltShard): void {
    const { firstStateNid } = shardShape(shape, shard.index);
    const ids = stateIdsOf(shard.pack, firstStateNid, shard.userIds.length);
    const refused = new Set(
      shard.planted.filter((one) => one.in_state && one.verdict !== 'redacted').map((one) => one.state_key),
    );
    for (const [i, userId] of shard.userIds.entries()) {
      const believed = !refused.has(userId);
      if (believed) this.expectedState.set(stateKeyText('m.room.member', userId), ids[i] as string);
      if (shard.memberships[i] === 'join') this.#countJoined(userId, believed);
    }
    this.planted.push(...shard.planted);
    this.heads.push(shard.head);
    this.#countEvents(shard.pack);
  }

  #countJoined(userId: string, believed: boolean): void {
    const server = serverNameOf(userId as UserId);
    this.joinedByServer.set(server, (this.joinedByServer.get(server) ?? 0) + 1);
    if (believed) this.members += 1;
  }

  #countEvents(pack: EventPack): void {
    this.events += pack.nids.length;
    this.pduBytes += pack.bodies.length;
  }
}

/** The event IDs of NIDs `first` and the `count` - 1 after it. */
function stateIdsOf(pack: EventPack, first: number, count: number): string[] {
  const ids: string[] = new Array(count);
  const keys = Buffer.from(pack.keys.buffer, pack.keys.byteOffset, pack.keys.length);
  for (const [i, nid] of pack.nids.entries()) {
    if (nid >= first && nid < first + count) ids[nid - first] = eventIdOfHash(keys.subarray(32 * i, 32 * i + 32));
  }
  return ids;
}
