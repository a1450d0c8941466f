/**
 * What we take from a `make_join` template: only where in the graph the join stands. Everything else must be what we asked
 * for, and is then written by ourselves: nobody puts words into our user's mouth.
 * Specification v1.19, server-server API, "Joining Rooms", GET make_join.
 */

import type { EventId, RoomId, UserId } from '../../kernel/matrix/ids.js';
import { parseEventId, parseUserId } from '../../kernel/matrix/ids.js';
import type { JsonObject, JsonValue } from '../../kernel/matrix/json.js';
import { isJsonObject } from '../../kernel/matrix/json.js';
import { AUTH_EVENTS_MAX, PREV_EVENTS_MAX } from '../../kernel/matrix/limits.js';
import type { RoomVersionRules } from '../../kernel/matrix/room-versions.js';

export interface JoinTemplate {
  readonly authEventIds: readonly EventId[];
  readonly prevEventIds: readonly EventId[];
  readonly depth: number;
  readonly authorisedVia: UserId | undefined;
}

/** The template's usable part, or why it is not one. */
export function checkTemplate(
  rules: RoomVersionRules,
  roomId: RoomId,
  userId: UserId,
  event: JsonObject,
): { readonly ok: true; readonly template: JoinTemplate } | { readonly ok: false; readonly reason: string } {
  const wrong = (reason: string) => ({ ok: false, reason: `make_join: ${reason}` }) as const;
  if (event.room_id !== roomId) return wrong('the template is of another room');
  if (event.sender !== userId || event.state_key !== userId) return wrong('the template is for another user');
  if (event.type !== 'm.room.member') return wrong('the template is not an m.room.member');
  const content = isJsonObject(event.content) ? event.content : {};
  if (content.membership !== 'join') return wrong('the template is not a join');
  const authEventIds = eventIds(rules, event.auth_events, AUTH_EVENTS_MAX);
  const prevEventIds = eventIds(rules, event.prev_events, PREV_EVENTS_MAX);
  if (authEventIds === undefined) return wrong('auth_events is not a list of at most 10 event IDs');
  if (prevEventIds === undefined || prevEventIds.length === 0)
    return wrong('prev_events is not a list of 1 to 20 event IDs');
  const { depth } = event;
  if (typeof depth !== 'number' || !Number.isSafeInteger(depth) || depth < 1)
    return wrong('depth is not a positive integer');
  const via = content.join_authorised_via_users_server;
  const authorisedVia = via === undefined ? undefined : parseUserId(via);
  if (via !== undefined && authorisedVia === undefined)
    return wrong('join_authorised_via_users_server is not a user ID');
  return { ok: true, template: { authEventIds, prevEventIds, depth, authorisedVia } };
}

function eventIds(rules: RoomVersionRules, list: JsonValue | undefined, most: number): EventId[] | undefined {
  if (!Array.isArray(list) || list.length > most) return undefined;
  const ids: EventId[] = [];
  for (const item of list as readonly JsonValue[]) {
    const id = parseEventId(rules.eventReferenceForm === 'pair' && Array.isArray(item) ? item[0] : item);
    if (id === undefined) return undefined;
    ids.push(id);
  }
  return ids;
}
