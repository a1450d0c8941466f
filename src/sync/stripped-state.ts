/**
 * What somebody who is invited to a room, or knocks at it, sees of it: a few state events, without anything but sender,
 * type, state key and content. Specification v1.19, client-server API, "Stripped state".
 */

import type { JsonObject } from '../kernel/matrix/json.js';
import { loadEvent, loadRecord } from '../store/events.js';
import type { EventNid } from '../store/nids.js';
import { NO_EVENT } from '../store/nids.js';
import type { StoreReader } from '../store/open-store.js';
import type { Room } from '../store/rooms.js';
import { stateEvent } from '../store/state-groups.js';
import { eventContext } from '../store/timeline.js';

const TYPES = [
  'm.room.create',
  'm.room.name',
  'm.room.avatar',
  'm.room.topic',
  'm.room.join_rules',
  'm.room.canonical_alias',
  'm.room.encryption',
];

/** The stripped state of a room at a membership: of the room, of who wrote the membership, and the membership itself. */
export function strippedState(reader: StoreReader, room: Room, membership: EventNid): JsonObject[] {
  const before = eventContext(reader, membership)?.before ?? room.currentGroup;
  const sender = loadRecord(reader, membership)?.sender ?? '';
  const nids = TYPES.map((type) => stateEvent(reader, room.nid, before, type, ''));
  nids.push(stateEvent(reader, room.nid, before, 'm.room.member', sender), membership);
  const events: JsonObject[] = [];
  for (const nid of nids) {
    const event = nid === NO_EVENT ? undefined : loadEvent(reader, room.rules, nid);
    if (event === undefined) continue;
    const { type, stateKey = '', sender: by } = event.record;
    events.push({ type, state_key: stateKey, sender: by, content: event.json.content ?? {} });
  }
  return events;
}
