/**
 * Members and state of a room. What needs other servers' members waits for full state; the rest is answered at once. Lists
 * of 85,000 events are written by the workers and go out with their length stated.
 * Specification v1.19, client-server API, "Getting events for a room"; MSC3902.
 */

import { setImmediate as nextTurn } from 'node:timers/promises';
import type { UserId } from '../../kernel/matrix/ids.js';
import { serverNameOf } from '../../kernel/matrix/ids.js';
import type { JsonObject, JsonValue } from '../../kernel/matrix/json.js';
import { isJsonObject } from '../../kernel/matrix/json.js';
import { MatrixError } from '../../kernel/matrix/matrix-error.js';
import { membershipBits, recordMembershipCode } from '../../store/event-record.js';
import { loadEvent } from '../../store/events.js';
import type { EventNid, StateGroupNid } from '../../store/nids.js';
import { NO_EVENT } from '../../store/nids.js';
import type { Room } from '../../store/rooms.js';
import { EMPTY_STATE_GROUP, stateEvent, stateNids } from '../../store/state-groups.js';
import { eventContext } from '../../store/timeline.js';
import type { TokenRow } from '../../store/users.js';
import { stateAt } from '../../sync/room-section.js';
import { shapeLongList } from '../../sync/shape-events.js';
import { parseSyncToken } from '../../sync/sync-token.js';
import { isStateVisible } from '../../sync/visible-to-user.js';
import type { ApiRequest, ApiResponse, Endpoint } from '../endpoint.js';
import { ok } from '../endpoint.js';
import type { ClientContext, RoomView } from './client-context.js';
import { notInRoom, roomIdParam, userEndpoint, viewOfRoom, withFullState } from './client-context.js';

/** State entries looked at between two turns of the event loop: about 5 ms where each is a join that is parsed. */
const ENTRIES_A_TURN = 500;

/** The state a caller may see: the current one, or for one who left, that at the leave. */
function visibleGroup(context: ClientContext, { room, left }: RoomView): StateGroupNid {
  if (left === undefined) return room.currentGroup;
  return eventContext(context.server.store, left.event)?.after ?? EMPTY_STATE_GROUP;
}

/**
 * The state at the token `at`, no later than the caller's leaving. Before the caller's joining only what the history
 * visibility shows, and the state that the join stands on: `prev_batch` of a first timeline names it. Throws 400, 403.
 */
function groupAt(context: ClientContext, { userId }: TokenRow, view: RoomView, at: string): StateGroupNid {
  const { store } = context.server;
  const { room, joinedAt, left } = view;
  const position = parseSyncToken(at);
  if (position === undefined) throw new MatrixError(400, 'M_INVALID_PARAM', `at: ${at} is not a token of ours`);
  if (left !== undefined && position >= left.position) return visibleGroup(context, view);
  const group = stateAt(store, room, position);
  const wasIn = joinedAt !== undefined && position >= joinedAt - 1;
  if (!wasIn && !isStateVisible(store, room, group, userId, view)) {
    throw new MatrixError(403, 'M_FORBIDDEN', `at: the members of ${room.roomId} at that time are hidden from you`);
  }
  return group;
}

/**
 * `opening` + a state's events + `closing`, the events in client form, as a streamed answer of known length.
 * `memberships`: of `membershipBits`; undefined: events of every type.
 */
async function eventList(
  context: ClientContext,
  room: Room,
  group: StateGroupNid,
  memberships: number | undefined,
  [opening, closing]: readonly [string, string],
): Promise<ApiResponse> {
  const nids = stateNids(context.server.store, group);
  const { contentLength, chunks } = await shapeLongList(context.server, room, nids, memberships);
  async function* framed() {
    yield Buffer.from(opening);
    yield* chunks;
    yield Buffer.from(closing);
  }
  return {
    status: 200,
    contentType: 'application/json',
    contentLength: contentLength + opening.length + closing.length,
    chunks: framed(),
  };
}

/** Both parameters together are an "or". Specification v1.19, client-server API, GET /rooms/{roomId}/members. */
function wantedMemberships({ query }: ApiRequest): number {
  const only = query.get('membership');
  const not = query.get('not_membership');
  const any = only === null && not === null;
  return membershipBits((membership) => any || membership === only || (not !== null && membership !== not));
}

async function joinedMembers(context: ClientContext, room: Room, group: StateGroupNid): Promise<JsonObject> {
  const { store } = context.server;
  const joined: Record<string, JsonObject> = {};
  const wanted = membershipBits((membership) => membership === 'join');
  for (const [i, nid] of stateNids(store, group).entries()) {
    if (i % ENTRIES_A_TURN === 0) await nextTurn();
    const record = store.tables.event_record_by_nid.getBinaryFast(nid);
    if (record === undefined || ((wanted >>> recordMembershipCode(record)) & 1) === 0) continue;
    const event = loadEvent(store, room.rules, nid as EventNid);
    if (event?.record.stateKey === undefined) continue;
    const content = isJsonObject(event.json.content) ? event.json.content : {};
    const text = (value: JsonValue | undefined) => (typeof value === 'string' ? value : null);
    joined[event.record.stateKey] = { display_name: text(content.displayname), avatar_url: text(content.avatar_url) };
  }
  return { joined };
}

/** Whether a state event is known before full state is: everything but other servers' memberships. */
function isKnownWhilePartial(context: ClientContext, type: string, stateKey: string): boolean {
  return type !== 'm.room.member' || serverNameOf(stateKey as UserId) === context.server.serverName;
}

async function oneStateEvent(
  context: ClientContext,
  request: ApiRequest,
  caller: TokenRow,
  seen: RoomView,
): Promise<ApiResponse> {
  const { eventType = '', stateKey = '' } = request.params;
  const known = isKnownWhilePartial(context, eventType, stateKey);
  const view = known ? seen : await withFullState(context, caller, seen, request);
  const { room } = view;
  const group = visibleGroup(context, view);
  const nid = stateEvent(context.server.store, room.nid, group, eventType, stateKey);
  const event = nid === NO_EVENT ? undefined : loadEvent(context.server.store, room.rules, nid);
  if (event === undefined)
    throw new MatrixError(404, 'M_NOT_FOUND', `the room has no ${eventType} with state key "${stateKey}"`);
  return ok(event.json.content ?? {});
}

export function roomStateEndpoints(context: ClientContext): readonly Endpoint[] {
  const full = (
    path: string,
    answer: (view: RoomView, request: ApiRequest, caller: TokenRow) => Promise<ApiResponse>,
  ) =>
    userEndpoint(context, 'GET', path, async (request, caller) => {
      const view = viewOfRoom(context, caller, roomIdParam(request));
      return answer(await withFullState(context, caller, view, request), request, caller);
    });
  const single = (path: string) =>
    userEndpoint(context, 'GET', path, async (request, caller) =>
      oneStateEvent(context, request, caller, viewOfRoom(context, caller, roomIdParam(request))),
    );
  return [
    ...full('/rooms/{roomId}/members', async (view, request, caller) => {
      const at = request.query.get('at');
      const group = at === null ? visibleGroup(context, view) : groupAt(context, caller, view, at);
      return eventList(context, view.room, group, wantedMemberships(request), ['{"chunk":[', ']}']);
    }),
    ...full('/rooms/{roomId}/joined_members', async (view) => {
      // For members only, also where anybody may read the history.
      if (view.joinedAt === undefined) throw notInRoom(view.room.roomId);
      return ok(await joinedMembers(context, view.room, visibleGroup(context, view)));
    }),
    ...full('/rooms/{roomId}/state', async (view) =>
      eventList(context, view.room, visibleGroup(context, view), undefined, ['[', ']']),
    ),
    ...single('/rooms/{roomId}/state/{eventType}'),
    ...single('/rooms/{roomId}/state/{eventType}/'),
    ...single('/rooms/{roomId}/state/{eventType}/{stateKey}'),
  ];
}
