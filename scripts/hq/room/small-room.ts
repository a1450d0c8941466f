/**
 * A small public room of version 11, written into a store as one that its server has been in from the start: its creation,
 * power levels, join rule and members. For what goes on beside a large room, and for servers that only take messages in.
 */

import type { RoomId, ServerName, UserId } from '../../../src/kernel/matrix/ids.js';
import { serverNameOf } from '../../../src/kernel/matrix/ids.js';
import type { JsonObject } from '../../../src/kernel/matrix/json.js';
import { roomVersionRules } from '../../../src/kernel/matrix/room-versions.js';
import type { SigningKey } from '../../../src/kernel/signatures/ed25519.js';
import { setEventStatuses, Verdict } from '../../../src/store/event-status.js';
import type { EventNid } from '../../../src/store/nids.js';
import type { Store } from '../../../src/store/open-store.js';
import { takeNumbers } from '../../../src/store/open-store.js';
import { addJoinedCounts, internRoom, putRoom } from '../../../src/store/rooms.js';
import { internStateKey, putStateGroup } from '../../../src/store/state-groups.js';
import { appendToStream, putEventContext, putEventPrevs, putLocalMembership } from '../../../src/store/timeline.js';
import { type BuiltEvent, buildEvent, type EventBuilder, type EventPlan, type EventRef } from './events/build-event.js';
import { packEvents } from './events/event-pack.js';
import { writeEvents } from './write-data-folder.js';

const ROOM_VERSION = '11';
/** 2024-06-01: before anybody's message. */
const CREATED_TS = 1_717_200_000_000;

export interface SmallRoomOptions {
  readonly roomId: RoomId;
  /** The server whose store it is. */
  readonly serverName: ServerName;
  readonly keyOf: (server: string) => SigningKey;
  /** All of them join; the first has created the room. */
  readonly userIds: readonly UserId[];
}

export interface SmallRoom {
  readonly roomId: RoomId;
  /** The newest event. */
  readonly last: EventRef;
  /** A message of a member as its server would send it after `prev`; not written. */
  message(sender: UserId, prev: EventRef, content: JsonObject, originServerTs: number): BuiltEvent;
}

/** Writes a room. */
export function writeSmallRoom(store: Store, options: SmallRoomOptions): SmallRoom {
  const { roomId, serverName, keyOf, userIds } = options;
  const rules = roomVersionRules(ROOM_VERSION);
  const creator = userIds[0];
  if (rules === undefined || creator === undefined) throw new Error('a room needs a known version and a creator');
  const [roomNid, firstNid] = store.write((writer) => {
    return [internRoom(writer, roomId), takeNumbers(writer, 'next_event_nid', userIds.length + 3)] as const;
  });
  const builder: EventBuilder = { rules, roomNid, roomId, keyOf };
  const state = new Map<string, BuiltEvent>();
  const build = (plan: Omit<EventPlan, 'nid' | 'prevs'>, nid: number, prevs: readonly EventRef[]): BuiltEvent => {
    return buildEvent(builder, { ...plan, nid, prevs }, (type, stateKey) => state.get(`${type}\0${stateKey}`));
  };
  const add = (type: string, stateKey: string, sender: UserId, content: JsonObject): void => {
    const plan = { type, stateKey, sender, content, originServerTs: CREATED_TS + state.size };
    state.set(`${type}\0${stateKey}`, build(plan, firstNid + state.size, [...state.values()].slice(-1)));
  };
  add('m.room.create', '', creator, { room_version: ROOM_VERSION });
  add('m.room.member', creator, creator, { membership: 'join' });
  add('m.room.power_levels', '', creator, { users: { [creator]: 100 } });
  add('m.room.join_rules', '', creator, { join_rule: 'public' });
  for (const userId of userIds.slice(1)) add('m.room.member', userId, userId, { membership: 'join' });

  const events = [...state.values()];
  const last = events.at(-1) as BuiltEvent;
  const lastNid = last.nid as EventNid;
  writeEvents(store, packEvents(events));
  store.write((writer) => {
    const places = [...state].map(([key, { nid }]) => {
      const [type, stateKey] = key.split('\0') as [string, string];
      return [internStateKey(writer, roomNid, type, stateKey), nid] as const;
    });
    places.sort(([a], [b]) => a - b);
    const nids = places.map(([, nid]) => nid);
    const before = putStateGroup(writer, Uint32Array.from(nids.slice(0, -1)));
    const after = putStateGroup(writer, Uint32Array.from(nids));
    setEventStatuses(writer, [lastNid], () => Verdict.accepted);
    putEventContext(writer, lastNid, { before, after });
    putEventPrevs(writer, lastNid, [events.at(-2)?.nid as EventNid]);
    const position = appendToStream(writer, roomNid, lastNid);
    putRoom(writer, roomNid, {
      roomId,
      version: ROOM_VERSION,
      residency: 'full-state',
      createNid: firstNid as EventNid,
      currentGroup: after,
      extremities: [lastNid],
    });
    const joined = new Map<ServerName, number>();
    for (const userId of userIds) {
      const server = serverNameOf(userId);
      joined.set(server, (joined.get(server) ?? 0) + 1);
      if (server !== serverName) continue;
      const event = state.get(`m.room.member\0${userId}`)?.nid as EventNid;
      putLocalMembership(writer, userId, roomNid, { membership: 'join', event, position });
    }
    addJoinedCounts(writer, roomNid, joined);
  });
  return {
    roomId,
    last,
    message: (sender, prev, content, originServerTs) =>
      build({ type: 'm.room.message', stateKey: undefined, sender, content, originServerTs }, 0, [prev]),
  };
}
