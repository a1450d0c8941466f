/**
 * A `/sync` answer: which of the user's rooms are in it, as joined or left, and as new or known to the client.
 *
 * A room with partial state is there for lazy-loading clients only. For the others it begins when its state is full, also
 * where their token is from before. Specification v1.19, client-server API, "Syncing"; MSC3902, "/sync".
 */

import type { UserId } from '../kernel/matrix/ids.js';
import type { JsonObject, JsonValue } from '../kernel/matrix/json.js';
import { loadRecord } from '../store/events.js';
import type { RoomNid, StateGroupNid } from '../store/nids.js';
import { NO_EVENT } from '../store/nids.js';
import type { StoreReader } from '../store/open-store.js';
import type { Room } from '../store/rooms.js';
import { loadRoomByNid } from '../store/rooms.js';
import { EMPTY_STATE_GROUP, stateEvent } from '../store/state-groups.js';
import type { LocalMembership } from '../store/timeline.js';
import { eventContext, localMemberships, roomsInStream, streamPosition } from '../store/timeline.js';
import { buildRoom } from './build-room.js';
import { defaultPushRules } from './default-push-rules.js';
import type { RoomSummaries } from './room-summary.js';
import { completedPosition, stateGroupAt } from './state-at.js';
import type { SyncFilter } from './sync-filter.js';
import { syncToken } from './sync-token.js';

export interface SyncRequest {
  readonly user: UserId;
  /** Undefined: an initial sync. */
  readonly since: number | undefined;
  readonly filter: SyncFilter;
  /** Every joined room with all of its state, as if it were new. */
  readonly fullState: boolean;
}

export interface BuiltSync {
  readonly json: JsonObject;
  /** Nothing happened since. */
  readonly empty: boolean;
}

/** The answer as of now. */
export async function buildSync(reader: StoreReader, summaries: RoomSummaries, request: SyncRequest): Promise<BuiltSync> {
  const upTo = streamPosition(reader);
  const since = request.since === undefined ? undefined : Math.min(request.since, upTo);
  const active = since === undefined ? undefined : roomsInStream(reader, since, upTo);
  const join: Record<string, JsonValue> = {};
  const leave: Record<string, JsonValue> = {};
  for (const [nid, membership] of [...localMemberships(reader, request.user)]) {
    const room = loadRoomByNid(reader, nid);
    if (room === undefined || membership.position > upTo || !isWanted(request.filter, room.roomId)) continue;
    const place = { reader, room, membership, since, upTo, request };
    if (membership.membership === 'join') {
      const quiet = active !== undefined && !active.has(nid) && completedPosition(reader, nid) <= (since ?? 0);
      const json = quiet && !request.fullState ? undefined : await joinedRoom(place, summaries);
      if (json !== undefined) join[room.roomId] = json;
    } else if (membership.membership === 'leave' || membership.membership === 'ban') {
      const json = await leftRoom(place);
      if (json !== undefined) leave[room.roomId] = json;
    }
  }
  const rules = { type: 'm.push_rules', content: { global: defaultPushRules(request.user) } };
  return {
    json: {
      next_batch: syncToken(upTo),
      rooms: { join, invite: {}, knock: {}, leave },
      account_data: { events: since === undefined ? [rules] : [] },
      presence: { events: [] },
      to_device: { events: [] },
      device_lists: { changed: [], left: [] },
      device_one_time_keys_count: {},
    },
    empty: Object.keys(join).length === 0 && Object.keys(leave).length === 0,
  };
}

/** Whether something in this room can change a user's `/sync`. */
export function concernsUser(reader: StoreReader, user: UserId): (room: RoomNid) => boolean {
  return (room) => reader.tables.local_memberships.has([user, room]);
}

interface Place {
  readonly reader: StoreReader;
  readonly room: Room;
  readonly membership: LocalMembership;
  readonly since: number | undefined;
  readonly upTo: number;
  readonly request: SyncRequest;
}

async function joinedRoom(place: Place, summaries: RoomSummaries): Promise<JsonObject | undefined> {
  const { reader, room, since, upTo, request } = place;
  const { user, filter } = request;
  const full = room.residency === 'full-state';
  if (!full && !filter.lazyLoadMembers) return undefined;
  const completed = since !== undefined && completedPosition(reader, room.nid) > since;
  const isNew =
    since === undefined || request.fullState || (completed && !filter.lazyLoadMembers) || !wasJoinedAt(reader, room, user, since);
  const built = await buildRoom(reader, room, {
    user,
    since: isNew ? undefined : since,
    upTo,
    endGroup: room.currentGroup,
    timelineLimit: filter.timelineLimit,
    lazy: filter.lazyLoadMembers,
    completed,
  });
  if (built.empty && !isNew && !completed) return undefined;
  // Counts are left out until they are right.
  if (!full || !(isNew || completed || built.membersChanged)) return built.json;
  return { ...built.json, summary: await summaries.summaryOf(room, user) };
}

async function leftRoom(place: Place): Promise<JsonObject | undefined> {
  const { reader, room, membership, since, request } = place;
  if (since === undefined || membership.position <= since) return undefined;
  const after = eventContext(reader, membership.event)?.after;
  if (after === undefined) return undefined;
  const known = wasJoinedAt(reader, room, request.user, since);
  const { json } = await buildRoom(reader, room, {
    user: request.user,
    since: known ? since : undefined,
    upTo: membership.position,
    endGroup: after,
    timelineLimit: request.filter.timelineLimit,
    lazy: request.filter.lazyLoadMembers || room.residency !== 'full-state',
    completed: false,
  });
  return json;
}

function isWanted(filter: SyncFilter, roomId: string): boolean {
  return (filter.rooms?.has(roomId) ?? true) && !filter.notRooms.has(roomId);
}

/** Whether the user was joined in the state the client has of the room. */
function wasJoinedAt(reader: StoreReader, room: Room, user: UserId, since: number): boolean {
  const group: StateGroupNid = stateGroupAt(reader, room.nid, since);
  const nid = group === EMPTY_STATE_GROUP ? NO_EVENT : stateEvent(reader, room.nid, group, 'm.room.member', user);
  return nid !== NO_EVENT && loadRecord(reader, nid)?.membership === 'join';
}
