/**
 * `PUT /_matrix/federation/v1|v2/send_join/{roomId}/{eventId}`: takes in another server's join and answers with the state of
 * the room before it, whole (streamed) or, with `omit_members=true`, without memberships.
 * Specification v1.19, server-server API, "Joining Rooms"; MSC3706.
 */

import { MatrixError } from '../../kernel/matrix/matrix-error.js';
import { servedBody } from '../../store/events.js';
import type { ApiResponse, Endpoint } from '../endpoint.js';
import type { AcceptedJoin } from './accept-remote-join.js';
import { acceptRemoteJoin } from './accept-remote-join.js';
import type { FederationRequest } from './authenticate.js';
import { authenticated } from './authenticate.js';
import type { ReceivedJoin } from './check-join.js';
import { checkJoin } from './check-join.js';
import type { FederationContext } from './federation-context.js';
import { partialJoinState } from './partial-join-state.js';
import { checkServerAcl, eventIdOf, residentRoom, roomIdOf } from './room-access.js';
import type { StreamedAnswer, StreamedPart } from './stream-events.js';
import { eventList, streamAnswer } from './stream-events.js';

/** Largest body in bytes: one event, with room for escapes. */
const JOIN_BODY_BYTES_MAX = 256 * 1024;

/** A reader of our answer may be slow, or gone: the room hears of the join after this time in any case, in milliseconds. */
const DISTRIBUTE_AFTER_MS_MAX = 1_000;

/** Both versions; v1 never omits and wraps its answer. */
export function sendJoin(context: FederationContext): readonly Endpoint[] {
  const bodyBytesMax = JOIN_BODY_BYTES_MAX;
  return [
    authenticated(context, {
      method: 'PUT',
      path: '/_matrix/federation/v1/send_join/{roomId}/{eventId}',
      bodyBytesMax,
      answer: async (request) => {
        const { accepted } = await takeJoin(context, request);
        const parts = await fullAnswer(context, accepted);
        return thenDistribute(context, accepted, streamAnswer(context.server.store, ['[200,', ...parts, '}]']));
      },
    }),
    authenticated(context, {
      method: 'PUT',
      path: '/_matrix/federation/v2/send_join/{roomId}/{eventId}',
      bodyBytesMax,
      answer: async (request) => {
        const { accepted, join, omitMembers } = await takeJoin(context, request);
        if (omitMembers) return thenDistribute(context, accepted, await partialAnswer(context, accepted, join));
        const parts = [...(await fullAnswer(context, accepted)), ',"members_omitted":false}'];
        return thenDistribute(context, accepted, streamAnswer(context.server.store, parts));
      },
    }),
  ];
}

/** Sends the join on to the room when its own server, which a user waits for, has the answer. */
function thenDistribute(
  { server }: FederationContext,
  { queuedFor }: AcceptedJoin,
  answer: StreamedAnswer,
): ApiResponse {
  let distributed = false;
  const distribute = () => {
    if (!distributed) server.onQueued(queuedFor);
    distributed = true;
  };
  setTimeout(distribute, DISTRIBUTE_AFTER_MS_MAX).unref();
  function* chunks() {
    yield* answer.chunks;
    distribute();
  }
  return { ...answer, chunks: chunks() };
}

async function takeJoin(
  { server }: FederationContext,
  { params, query, origin, content }: FederationRequest,
): Promise<{ accepted: AcceptedJoin; join: ReceivedJoin; omitMembers: boolean }> {
  const roomId = roomIdOf(params.roomId);
  const room = residentRoom(server, roomId);
  checkServerAcl(server.store, room, origin);
  const eventId = eventIdOf(params.eventId, 'eventId');
  const omit = query.get('omit_members') ?? 'false';
  if (omit !== 'true' && omit !== 'false') {
    throw new MatrixError(400, 'M_INVALID_PARAM', 'omit_members is neither true nor false');
  }
  const join = checkJoin(room.rules, content, { roomId, eventId, origin });
  const accepted = await acceptRemoteJoin(server, room, origin, join);
  return { accepted, join, omitMembers: omit === 'true' };
}

/** An object without its closing brace. */
async function fullAnswer(context: FederationContext, accepted: AcceptedJoin): Promise<StreamedPart[]> {
  const { store } = context.server;
  const { room, before } = accepted;
  const found = await context.chains.ofState(room, before);
  return [
    '{"auth_chain":[',
    eventList(store, room, found.chainNids, found.chainBytes),
    '],"state":[',
    eventList(store, room, found.stateNids, found.stateBytes),
    `],${commonMembers(context, accepted)}`,
  ];
}

async function partialAnswer(
  context: FederationContext,
  accepted: AcceptedJoin,
  join: ReceivedJoin,
): Promise<StreamedAnswer> {
  const { store } = context.server;
  const { room, before, nid } = accepted;
  const state = partialJoinState(store, room, before, join.userId);
  const found = await context.chains.ofPartialState(room, state, nid);
  return streamAnswer(store, [
    '{"auth_chain":[',
    eventList(store, room, found.chainNids, found.chainBytes),
    '],"state":[',
    eventList(store, room, found.stateNids, found.stateBytes),
    `],${commonMembers(context, accepted)},"members_omitted":true,`,
    `"servers_in_room":${JSON.stringify(accepted.serversBefore)}}`,
  ]);
}

function commonMembers({ server }: FederationContext, { room, nid }: AcceptedJoin): string {
  const event = servedBody(server.store, room.rules, nid)?.toString('utf8');
  if (event === undefined) throw new Error(`the join ${nid} to ${room.roomId} was accepted and is not stored`);
  return `"event":${event},"origin":${JSON.stringify(server.serverName)}`;
}
