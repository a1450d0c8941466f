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
import { checkJoin } from './check-join.js';
import type { FederationContext } from './federation-context.js';
import { partialJoinState } from './partial-join-state.js';
import { checkServerAcl, eventIdOf, residentRoom, roomIdOf } from './room-access.js';
import type { StreamedAnswer } from './stream-events.js';
import { eventList, streamAnswer } from './stream-events.js';

/** Largest body in bytes: one event, with room for escapes. */
const JOIN_BODY_BYTES_MAX = 256 * 1024;

/**
 * From the last byte given to the socket until the room hears of the join, in milliseconds. The new server checks the answer
 * in this time; told of it earlier, the room's servers would send it events that it must still refuse, and ask for its keys.
 */
const DISTRIBUTE_PAUSE_MS = 500;
/** A reader of our answer may be slow, or gone: the room hears of the join after this time in any case, in milliseconds. */
const DISTRIBUTE_AFTER_MS_MAX = 2_000;

/** Both versions; v1 never omits and wraps its answer. */
export function sendJoin(context: FederationContext): readonly Endpoint[] {
  const bodyBytesMax = JOIN_BODY_BYTES_MAX;
  return [
    authenticated(context, {
      method: 'PUT',
      path: '/_matrix/federation/v1/send_join/{roomId}/{eventId}',
      bodyBytesMax,
      answer: async (request) => {
        const accepted = await takeJoin(context, request, false);
        return thenDistribute(context, accepted, await answerOf(context, accepted, '[200,', '}]'));
      },
    }),
    authenticated(context, {
      method: 'PUT',
      path: '/_matrix/federation/v2/send_join/{roomId}/{eventId}',
      bodyBytesMax,
      answer: async (request) => {
        const omit = request.query.get('omit_members') ?? 'false';
        if (omit !== 'true' && omit !== 'false') {
          throw new MatrixError(400, 'M_INVALID_PARAM', 'omit_members is neither true nor false');
        }
        const accepted = await takeJoin(context, request, omit === 'true');
        const end =
          omit === 'true'
            ? `,"members_omitted":true,"servers_in_room":${JSON.stringify(accepted.serversBefore)}}`
            : ',"members_omitted":false}';
        return thenDistribute(context, accepted, await answerOf(context, accepted, '', end));
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
    setTimeout(distribute, DISTRIBUTE_PAUSE_MS).unref();
  }
  return { ...answer, chunks: chunks() };
}

async function takeJoin(
  { server, chains }: FederationContext,
  { params, origin, content }: FederationRequest,
  omitMembers: boolean,
): Promise<AcceptedJoin> {
  const roomId = roomIdOf(params.roomId);
  const room = residentRoom(server, roomId);
  checkServerAcl(server.store, room, origin);
  const eventId = eventIdOf(params.eventId, 'eventId');
  const join = checkJoin(room.rules, content, { roomId, eventId, origin });
  return acceptRemoteJoin(server, room, origin, join, (known, before, nid) =>
    omitMembers
      ? chains.ofPartialState(known, partialJoinState(server.store, known, before, join.userId), nid)
      : chains.ofState(known, before),
  );
}

/** The state, its auth chain and what both versions say besides, between `start` and `end`. */
async function answerOf(
  context: FederationContext,
  accepted: AcceptedJoin,
  start: string,
  end: string,
): Promise<StreamedAnswer> {
  const { store } = context.server;
  const { room, found } = accepted;
  const { chainNids, chainBytes, stateNids, stateBytes } = await found;
  return streamAnswer(store, [
    `${start}{"auth_chain":[`,
    eventList(store, room, chainNids, chainBytes),
    '],"state":[',
    eventList(store, room, stateNids, stateBytes),
    `],${commonMembers(context, accepted)}${end}`,
  ]);
}

function commonMembers({ server }: FederationContext, { room, nid }: AcceptedJoin): string {
  const event = servedBody(server.store, room.rules, nid)?.toString('utf8');
  if (event === undefined) throw new Error(`the join ${nid} to ${room.roomId} was accepted and is not stored`);
  return `"event":${event},"origin":${JSON.stringify(server.serverName)}`;
}
