/**
 * What of a room's history one of our users may see: decided event by event, by the room's state at the event.
 * Specification v1.19, client-server API, "Room History Visibility", "Server behaviour".
 */

import type { UserId } from '../kernel/matrix/ids.js';
import { isJsonObject } from '../kernel/matrix/json.js';
import { loadEvent, loadRecord } from '../store/events.js';
import type { StateGroupNid } from '../store/nids.js';
import { NO_EVENT } from '../store/nids.js';
import type { StoreReader } from '../store/open-store.js';
import type { Room } from '../store/rooms.js';
import { stateEvent } from '../store/state-groups.js';
import type { LocalMembership, TimelineEntry } from '../store/timeline.js';
import { eventContext } from '../store/timeline.js';

export type HistoryVisibility = 'world_readable' | 'shared' | 'invited' | 'joined';

/** The room's history visibility in a state; `shared` where it is unset or not understood. */
export function historyVisibility(reader: StoreReader, room: Room, group: StateGroupNid): HistoryVisibility {
  const nid = stateEvent(reader, room.nid, group, 'm.room.history_visibility', '');
  const content = nid === NO_EVENT ? undefined : loadEvent(reader, room.rules, nid)?.json.content;
  const value = isJsonObject(content) ? content.history_visibility : undefined;
  return value === 'world_readable' || value === 'invited' || value === 'joined' ? value : 'shared';
}

/** Whether a user may see a room's state at a time before the user's last stay, if there was one. */
export function isStateVisible(
  reader: StoreReader,
  room: Room,
  group: StateGroupNid,
  userId: UserId,
  { joinedAt }: Pick<LocalMembership, 'joinedAt'>,
): boolean {
  return allows(reader, room, group, userId, joinedAt !== undefined);
}

/** Steps 1 to 5 of the specification's rules, by one state. */
function allows(reader: StoreReader, room: Room, group: StateGroupNid, userId: UserId, joinedLater: boolean): boolean {
  const visibility = historyVisibility(reader, room, group);
  if (visibility === 'world_readable' || (visibility === 'shared' && joinedLater)) return true;
  const nid = stateEvent(reader, room.nid, group, 'm.room.member', userId);
  const membership = nid === NO_EVENT ? undefined : loadRecord(reader, nid)?.membership;
  return membership === 'join' || (visibility === 'invited' && membership === 'invite');
}

/** Whether a user may see an event of the timeline. `standing`: the user's membership now; undefined: never had one. */
export function isVisible(
  reader: StoreReader,
  room: Room,
  userId: UserId,
  standing: LocalMembership | undefined,
  { event, position }: TimelineEntry,
): boolean {
  const context = eventContext(reader, event);
  if (context === undefined) return false;
  // 3. Joined at any point after the event was sent.
  const { joinedAt, left } = standing ?? {};
  const joinedLater = joinedAt !== undefined && (left === undefined || left.position > position);
  if (allows(reader, room, context.before, userId, joinedLater)) return true;
  // What follows changes what is asked about: before or after the event is enough.
  const record = loadRecord(reader, event);
  const isOwnMembership = record?.type === 'm.room.member' && record.stateKey === userId;
  const isVisibility = record?.type === 'm.room.history_visibility' && record.stateKey === '';
  return (isOwnMembership || isVisibility) && allows(reader, room, context.after, userId, joinedLater);
}
