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
import type { EventRecord } from '../../store/event-record.js';
import { loadEvent, loadRecord } from '../../store/events.js';
import type { EventNid, StateGroupNid } from '../../store/nids.js';
import { NO_EVENT } from '../../store/nids.js';
import type { Room } from '../../store/rooms.js';
import { stateEntries, stateEvent } from '../../store/state-groups.js';
import type { LocalMembership } from '../../store/timeline.js';
import { eventContext } from '../../store/timeline.js';
import { CLIENT_BATCH_EVENTS_MAX } from '../../workers/jobs/client-events.js';
import type { ApiRequest, ApiResponse, Endpoint } from '../endpoint.js';
import { ok } from '../endpoint.js';
import type { ClientContext } from './client-context.js';
import { roomIdParam, roomOfCaller, userEndpoint, withFullState } from './client-context.js';

/** State entries looked at between two turns of the event loop: about 4 ms. */
const ENTRIES_A_TURN = 2_000;

/** The state a caller may see: the current one, or for one who left, that at the leave. */
function visibleGroup(context: ClientContext, room: Room, membership: LocalMembership): StateGroupNid {
  if (membership.membership === 'join') return room.currentGroup;
  const group = eventContext(context.server.store, membership.event)?.after;
  if (group === undefined) throw new MatrixError(403, 'M_FORBIDDEN', `you were not in the room ${room.roomId}`);
  return group;
}

/** NIDs of the state events that `wanted` lets through. */
async function collect(
  context: ClientContext,
  group: StateGroupNid,
  wanted: (record: EventRecord) => boolean,
): Promise<Uint32Array<ArrayBuffer>> {
  const { store } = context.server;
  const nids: number[] = [];
  let seen = 0;
  for (const [, nid] of [...stateEntries(store, group)]) {
    const record = loadRecord(store, nid);
    if (record !== undefined && wanted(record)) nids.push(nid);
    seen += 1;
    if (seen % ENTRIES_A_TURN === 0) await nextTurn();
  }
  return Uint32Array.from(nids);
}

/** `opening` + events + `closing`, the events in client form, as a streamed answer of known length. */
async function eventList(
  context: ClientContext,
  room: Room,
  nids: Uint32Array<ArrayBuffer>,
  opening: string,
  closing: string,
): Promise<ApiResponse> {
  const jobs: Promise<Uint8Array>[] = [];
  for (let at = 0; at < nids.length; at += CLIENT_BATCH_EVENTS_MAX) {
    const batch = nids.slice(at, at + CLIENT_BATCH_EVENTS_MAX);
    const input = { roomVersion: room.version, roomId: room.roomId, nids: batch };
    jobs.push(context.server.pool.run('clientEvents', input, 'bulk').then((output) => output.bytes));
  }
  const parts = (await Promise.all(jobs)).filter((bytes) => bytes.length > 0);
  const chunks: Uint8Array[] = [Buffer.from(opening)];
  for (const [i, part] of parts.entries()) {
    if (i > 0) chunks.push(Buffer.from(','));
    chunks.push(part);
  }
  chunks.push(Buffer.from(closing));
  const contentLength = chunks.reduce((sum, chunk) => sum + chunk.length, 0);
  return { status: 200, contentType: 'application/json', contentLength, chunks };
}

function membershipFilter(request: ApiRequest): (record: EventRecord) => boolean {
  const only = request.query.get('membership');
  const not = request.query.get('not_membership');
  return (record) =>
    record.type === 'm.room.member' &&
    (only === null || record.membership === only) &&
    (not === null || record.membership !== not);
}

async function joinedMembers(context: ClientContext, room: Room, group: StateGroupNid): Promise<JsonObject> {
  const { store } = context.server;
  const joined: Record<string, JsonObject> = {};
  const nids = await collect(
    context,
    group,
    (record) => record.type === 'm.room.member' && record.membership === 'join',
  );
  for (const [i, nid] of nids.entries()) {
    if (i % (ENTRIES_A_TURN / 4) === 0) await nextTurn();
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
  room: Room,
  membership: LocalMembership,
): Promise<ApiResponse> {
  const { eventType = '', stateKey = '' } = request.params;
  const known = isKnownWhilePartial(context, eventType, stateKey);
  const current = known ? room : await withFullState(context, room, request);
  const nid = stateEvent(
    context.server.store,
    room.nid,
    visibleGroup(context, current, membership),
    eventType,
    stateKey,
  );
  const event = nid === NO_EVENT ? undefined : loadEvent(context.server.store, room.rules, nid);
  if (event === undefined)
    throw new MatrixError(404, 'M_NOT_FOUND', `the room has no ${eventType} with state key "${stateKey}"`);
  return ok(event.json.content ?? {});
}

export function roomStateEndpoints(context: ClientContext): readonly Endpoint[] {
  const full = (
    path: string,
    answer: (request: ApiRequest, room: Room, group: StateGroupNid) => Promise<ApiResponse>,
  ) =>
    userEndpoint(context, 'GET', path, async (request, caller) => {
      const { room, membership } = roomOfCaller(context, caller, roomIdParam(request));
      const complete = await withFullState(context, room, request);
      return answer(request, complete, visibleGroup(context, complete, membership));
    });
  const single = (path: string) =>
    userEndpoint(context, 'GET', path, async (request, caller) => {
      const { room, membership } = roomOfCaller(context, caller, roomIdParam(request));
      return oneStateEvent(context, request, room, membership);
    });
  return [
    ...full('/rooms/{roomId}/members', async (request, room, group) =>
      eventList(context, room, await collect(context, group, membershipFilter(request)), '{"chunk":[', ']}'),
    ),
    ...full('/rooms/{roomId}/joined_members', async (_request, room, group) =>
      ok(await joinedMembers(context, room, group)),
    ),
    ...full('/rooms/{roomId}/state', async (_request, room, group) =>
      eventList(context, room, await collect(context, group, () => true), '[', ']'),
    ),
    ...single('/rooms/{roomId}/state/{eventType}'),
    ...single('/rooms/{roomId}/state/{eventType}/'),
    ...single('/rooms/{roomId}/state/{eventType}/{stateKey}'),
  ];
}
