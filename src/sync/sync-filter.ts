/**
 * A client's filter, as far as `/sync` follows it: rooms, and of each room which events of the timeline and of the state.
 * `event_fields`, `event_format`, `presence`, `account_data` and `ephemeral` are read over.
 * Specification v1.19, client-server API, "Filtering".
 */

import type { RoomId } from '../kernel/matrix/ids.js';
import type { JsonObject, JsonValue } from '../kernel/matrix/json.js';
import { isJsonObject } from '../kernel/matrix/json.js';
import { MatrixError } from '../kernel/matrix/matrix-error.js';
import { globMatches } from '../room/access/server-acl.js';
import { loadEvent, loadRecord } from '../store/events.js';
import type { EventNid } from '../store/nids.js';
import type { StoreReader } from '../store/open-store.js';
import type { Room } from '../store/rooms.js';

const TIMELINE_LIMIT_DEFAULT = 20;
const TIMELINE_LIMIT_MAX = 100;
/** Entries of one list of a filter. */
const ENTRIES_MAX = 1_000;

/** Which events of a room are wanted. */
export interface EventFilter {
  /** Whether it lets every event of every room through. */
  readonly isOpen: boolean;
  matches(reader: StoreReader, room: Room, nid: EventNid): boolean;
}

export interface SyncFilter {
  /** Whether the first sync tells of rooms that the user has left. */
  readonly includeLeave: boolean;
  readonly lazyLoadMembers: boolean;
  readonly timelineLimit: number;
  readonly timeline: EventFilter;
  readonly state: EventFilter;
  wantsRoom(roomId: RoomId): boolean;
}

/** Reads a filter. Throws MatrixError 400 M_BAD_JSON that names the member that is not of its form. */
export function parseSyncFilter(filter: JsonObject): SyncFilter {
  const room = objectIn(filter, 'room', 'room');
  const state = objectIn(room, 'state', 'room.state');
  const timeline = objectIn(room, 'timeline', 'room.timeline');
  const { limit } = timeline;
  const wanted = typeof limit === 'number' && limit >= 1 ? Math.floor(limit) : TIMELINE_LIMIT_DEFAULT;
  return {
    includeLeave: room.include_leave === true,
    lazyLoadMembers: state.lazy_load_members === true,
    timelineLimit: Math.min(wanted, TIMELINE_LIMIT_MAX),
    timeline: eventFilter(timeline, 'room.timeline'),
    state: eventFilter(state, 'room.state'),
    wantsRoom: picker(room, 'room', 'rooms'),
  };
}

function eventFilter(json: JsonObject, at: string): EventFilter {
  const wantsRoom = picker(json, at, 'rooms');
  const wantsSender = picker(json, at, 'senders');
  const wantsType = picker(json, at, 'types', globMatches);
  const { contains_url: withUrl } = json;
  const names = ['rooms', 'senders', 'types'].flatMap((name) => [name, `not_${name}`]);
  return {
    isOpen: typeof withUrl !== 'boolean' && names.every((name) => (json[name] ?? null) === null),
    matches: (reader, room, nid) => {
      const record = loadRecord(reader, nid);
      if (record === undefined || !wantsRoom(room.roomId)) return false;
      if (!wantsSender(record.sender) || !wantsType(record.type)) return false;
      return typeof withUrl !== 'boolean' || hasUrl(reader, room, nid) === withUrl;
    },
  };
}

function hasUrl(reader: StoreReader, room: Room, nid: EventNid): boolean {
  const content = loadEvent(reader, room.rules, nid)?.json.content;
  return isJsonObject(content) && typeof content.url === 'string';
}

/** What `name` lets through, which is all where it is missing, and `not_name` does not take out again. */
function picker(
  json: JsonObject,
  at: string,
  name: string,
  matches = (entry: string, text: string): boolean => entry === text,
): (text: string) => boolean {
  const wanted = entriesIn(json, at, name);
  const unwanted = entriesIn(json, at, `not_${name}`) ?? [];
  return (text) =>
    (wanted?.some((entry) => matches(entry, text)) ?? true) && !unwanted.some((entry) => matches(entry, text));
}

function entriesIn(json: JsonObject, at: string, name: string): readonly string[] | undefined {
  const list: JsonValue = json[name] ?? null;
  if (list === null) return undefined;
  const isList = Array.isArray(list) && list.length <= ENTRIES_MAX && list.every((entry) => typeof entry === 'string');
  if (isList) return list as readonly string[];
  throw new MatrixError(400, 'M_BAD_JSON', `filter: ${at}.${name} is not a list of at most ${ENTRIES_MAX} strings`);
}

function objectIn(json: JsonObject, name: string, at: string): JsonObject {
  const value = json[name] ?? {};
  if (isJsonObject(value)) return value;
  throw new MatrixError(400, 'M_BAD_JSON', `filter: ${at} is not an object`);
}
