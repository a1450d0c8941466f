/**
 * One candidate asked for a join: template, our signed event, and the state that comes back, checked while it streams and
 * stored as unjudged events. Nothing of it is in the room yet.
 *
 * Everything in the answers is from the wire. MSC3902, MSC3706; specification v1.19, server-server API, "Joining Rooms".
 */

import type { ServerName } from '../../kernel/matrix/ids.js';
import { parseServerName } from '../../kernel/matrix/ids.js';
import type { JsonObject, JsonValue } from '../../kernel/matrix/json.js';
import { isJsonObject } from '../../kernel/matrix/json.js';
import type { RoomVersionRules } from '../../kernel/matrix/room-versions.js';
import { ROOM_VERSIONS, roomVersionRules } from '../../kernel/matrix/room-versions.js';
import type { SignedEvent } from '../../kernel/signatures/sign-pdu.js';
import { hashAndSignPdu } from '../../kernel/signatures/sign-pdu.js';
import { atMinimumPace } from '../../remote/minimum-pace.js';
import { RemoteError } from '../../remote/remote-error.js';
import { makeJoin, sendJoin } from '../../remote/state-requests.js';
import { internRoom, roomNidOf } from '../../store/rooms.js';
import { buildEvent } from '../build-event.js';
import { askedState, EventIngest } from '../intake/ingest-events.js';
import type { RoomProgress } from '../room-progress.js';
import type { RoomServer } from '../room-server.js';
import { checkAuthChain } from './check-auth-chain.js';
import { checkPrevEvents, checkTemplateRooms } from './check-prev-events.js';
import { checkTemplate } from './check-template.js';
import type { JoinRequest } from './join-room.js';
import { judgeJoinState } from './judge-join-state.js';

/** Servers in the room that are remembered; a room has some ten thousand at most. */
export const SERVERS_IN_ROOM_MAX = 50_000;

/** A join that the candidate has accepted, and what it answered. */
export interface AskedJoin {
  readonly rules: RoomVersionRules;
  readonly join: SignedEvent;
  readonly received: ReceivedState;
}

/** Asks one candidate. Throws RemoteError, SplitError, JoinRefused, or MatrixError where the room refuses the user. */
export async function askToJoin(
  server: RoomServer,
  request: JoinRequest,
  candidate: ServerName,
  progress: RoomProgress,
): Promise<AskedJoin> {
  const { roomId, userId } = request;
  progress.server = candidate;
  const make = progress.start('make_join', 1);
  // The candidate's keys come beside, and nothing waits for them: a notary that hangs must not hold up a join.
  server.keys.prefetch([candidate]).catch((error: unknown) => {
    server.log.warn({ candidate, error: String(error) }, 'keys were not prefetched');
  });
  const answer = await makeJoin(server.client, candidate, roomId, userId, ROOM_VERSIONS);
  make.done = 1;
  const rules = roomVersionRules(answer.roomVersion);
  if (rules === undefined)
    throw new RemoteError('malformed', candidate, `make_join: unknown room version ${answer.roomVersion}`);
  const join = signJoin(server, rules, request, candidate, answer.event);
  progress.end('make_join');
  progress.start('send_join');
  const received = await receiveState(server, request, rules, candidate, join, progress);
  progress.end('send_join');
  return { rules, join, received };
}

function signJoin(
  server: RoomServer,
  rules: RoomVersionRules,
  request: JoinRequest,
  candidate: ServerName,
  event: JsonObject,
): SignedEvent {
  const checked = checkTemplate(rules, request.roomId, request.userId, event);
  if (!checked.ok) throw new RemoteError('malformed', candidate, checked.reason);
  const { authEventIds, prevEventIds, depth, authorisedVia } = checked.template;
  checkTemplateRooms(server, roomNidOf(server.store, request.roomId), candidate, checked.template);
  const content: JsonObject = {
    ...request.profile,
    membership: 'join',
    ...(authorisedVia === undefined ? {} : { join_authorised_via_users_server: authorisedVia }),
  };
  const intent = { type: 'm.room.member', sender: request.userId, stateKey: request.userId, content };
  const { clock, random } = server;
  const place = { roomId: request.roomId, authEventIds, prevEventIds, depth: depth - 1, now: clock(), random };
  return hashAndSignPdu(rules, buildEvent(rules, intent, place), server.signingKey);
}

/** What `send_join` brought, stored as unjudged events. */
export interface ReceivedState {
  readonly roomNid: ReturnType<typeof internRoom>;
  readonly membersOmitted: boolean;
  readonly servers: readonly ServerName[];
  /** The join as returned, with the signature of the server that authorised it. */
  readonly returnedEvent: JsonObject | undefined;
  readonly judged: Awaited<ReturnType<typeof judgeJoinState>>;
}

async function receiveState(
  server: RoomServer,
  request: JoinRequest,
  rules: RoomVersionRules,
  candidate: ServerName,
  join: SignedEvent,
  progress: RoomProgress,
): Promise<ReceivedState> {
  const { roomId } = request;
  const stage = progress.stage('send_join');
  // A number that nothing refers to yet may be lost: the join need not wait for the disk.
  const [roomNid, response] = await Promise.all([
    server.store.writeInBackground((writer) => internRoom(writer, roomId)),
    sendJoin(server.client, candidate, roomId, join.eventId, join.json, request.partial),
  ]);
  const prevs = request.partial ? checkPrevEvents(server, rules, candidate, join) : Promise.resolve();
  prevs.catch(() => undefined);
  let useful = 0;
  const ingest = new EventIngest(server, {
    ...askedState({ nid: roomNid, roomId, version: rules.version }),
    lane: 'interactive',
    index: undefined,
    onProgress: (counts) => {
      useful = counts.verified + counts.repeated;
      stage.done = counts.stored;
      stage.bytes = counts.bytes;
    },
  });
  // Only these two are kept: a response has room for a thousand members of a megabyte.
  let omitted: JsonValue = false;
  let event: JsonValue | undefined;
  let listed = false;
  // The candidate first: it is there, and has the first message while thousands of others wait for theirs.
  const names = new Set<ServerName>([candidate]);
  await ingest.read(
    atMinimumPace(response.body, candidate, 'send_join', server.clock, () => useful),
    new Set(['state', 'auth_chain', 'servers_in_room']),
    (field, value) => {
      if (field === 'members_omitted') omitted = value;
      if (field === 'event') event = value;
    },
    (field, bytes) => {
      if (field === 'servers_in_room' && addServerName(names, bytes)) listed = true;
    },
  );
  const result = await ingest.finish();
  await prevs;
  stage.bytes = result.bytes;
  progress.sendJoinBytes = result.bytes;
  progress.verifiedSignatures += result.verified;
  progress.storedEvents += result.stored;
  progress.repeatedEvents += result.repeated;
  progress.repeatedBytes += result.repeatedBytes;
  if (typeof omitted !== 'boolean')
    throw new RemoteError('malformed', candidate, 'send_join: members_omitted is not a boolean');
  if (omitted && !request.partial) throw new RemoteError('malformed', candidate, 'send_join: omitted members unasked');
  if (omitted && !listed)
    throw new RemoteError('malformed', candidate, 'send_join: servers_in_room is missing or empty');
  names.delete(server.serverName);
  const judged = await judgeJoinState(server, rules, { roomId, roomNid, userId: request.userId }, join, result);
  if (!omitted) checkAuthChain(server, rules, judged);
  return {
    roomNid,
    membersOmitted: omitted,
    servers: [...names],
    returnedEvent: isJsonObject(event) ? event : undefined,
    judged,
  };
}

/** Whether it is a server's name. */
function addServerName(names: Set<ServerName>, bytes: Buffer): boolean {
  if (names.size >= SERVERS_IN_ROOM_MAX || bytes.length > 512) return false;
  const name = parseServerName(bytes.toString('utf8', 1, bytes.length - 1));
  if (name !== undefined) names.add(name);
  return name !== undefined;
}
