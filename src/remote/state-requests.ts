/**
 * The requests of joining and resynchronising, one function each. Large answers come back as streams; waits are minutes,
 * because resident servers take that long to collect a large room's state (90 s seen for Matrix HQ).
 * Specification v1.19, server-server API, "Joining Rooms" and "Retrieving events".
 */

import type { EventId, RoomId, ServerName, UserId } from '../kernel/matrix/ids.js';
import type { JsonObject } from '../kernel/matrix/json.js';
import { isJsonObject } from '../kernel/matrix/json.js';
import type { FederationClient, RemoteStream } from './federation-client.js';
import { JSON_BODY_BYTES_MAX } from './federation-client.js';
import { RemoteError } from './remote-error.js';
import { ELEMENT_BYTES_MAX, ResponseSplitter, SplitError } from './split-response.js';
import { withoutStatus } from './without-status.js';

/** Wait for the first byte of `send_join`, `state`, `state_ids`: the resident computes before it answers. */
export const STATE_FIRST_BYTE_TIMEOUT_MS = 10 * 60 * 1000;
/** Wait for the next bytes of such an answer. */
export const STATE_IDLE_TIMEOUT_MS = 2 * 60 * 1000;
/**
 * Longest time of such a request and its answer, our own work on it included: many times what a million events take. Only
 * a few resyncs run at once, and one must not be held for good by a server that never ends its answer.
 */
export const STATE_TOTAL_TIMEOUT_MS = 60 * 60 * 1000;
/** Wait for `make_join`: a user waits too. */
export const MAKE_JOIN_TIMEOUT_MS = 30_000;

/** Largest answer of `event` in bytes: one element and what stands around it. */
const EVENT_ANSWER_BYTES_MAX = ELEMENT_BYTES_MAX + 64 * 1024;
const OPEN_BRACE = 0x7b;

const STATE_TIMEOUTS = {
  firstByteTimeoutMs: STATE_FIRST_BYTE_TIMEOUT_MS,
  idleTimeoutMs: STATE_IDLE_TIMEOUT_MS,
  totalTimeoutMs: STATE_TOTAL_TIMEOUT_MS,
};

function path(...segments: readonly string[]): string {
  return `/_matrix/federation/${segments.map(encodeURIComponent).join('/')}`;
}

/** What `make_join` answers, as far as it is looked at; everything in `event` is from the wire. */
export interface MakeJoinAnswer {
  readonly roomVersion: string;
  readonly event: JsonObject;
}

/** Asks for a join template. Rejects with RemoteError. */
export async function makeJoin(
  client: FederationClient,
  server: ServerName,
  roomId: RoomId,
  userId: UserId,
  versions: readonly string[],
): Promise<MakeJoinAnswer> {
  const answer = await client.requestJson(server, {
    method: 'GET',
    path: path('v1', 'make_join', roomId, userId),
    query: versions.map((version) => ['ver', version] as const),
    firstByteTimeoutMs: MAKE_JOIN_TIMEOUT_MS,
  });
  if (!isJsonObject(answer) || !isJsonObject(answer.event))
    throw new RemoteError('malformed', server, 'make_join: no event');
  const { room_version: version = '1' } = answer;
  if (typeof version !== 'string')
    throw new RemoteError('malformed', server, 'make_join: room_version is not a string');
  return { roomVersion: version, event: answer.event };
}

/** Sends a signed join; the body is the room's state. v1, which never omits members, only where v2 is not known. */
export async function sendJoin(
  client: FederationClient,
  server: ServerName,
  roomId: RoomId,
  eventId: EventId,
  event: JsonObject,
  omitMembers: boolean,
): Promise<RemoteStream> {
  const request = { method: 'PUT', content: event, ...STATE_TIMEOUTS } as const;
  try {
    const query = [['omit_members', String(omitMembers)]] as const;
    return await client.requestStream(server, { ...request, path: path('v2', 'send_join', roomId, eventId), query });
  } catch (error) {
    if (!isUnknownEndpoint(error)) throw error;
    const stream = await client.requestStream(server, { ...request, path: path('v1', 'send_join', roomId, eventId) });
    return { ...stream, body: withoutStatus(stream.body) };
  }
}

/** Specification v1.19, server-server API, "Unsupported endpoints". */
function isUnknownEndpoint(error: unknown): boolean {
  return (
    error instanceof RemoteError && error.errcode === 'M_UNRECOGNIZED' && (error.status === 404 || error.status === 405)
  );
}

/** The state before an event and its auth chain: `state_ids` lists IDs, `state` has the events whole. */
export function requestStateBefore(
  client: FederationClient,
  server: ServerName,
  form: 'state_ids' | 'state',
  roomId: RoomId,
  eventId: EventId,
  signal: AbortSignal,
): Promise<RemoteStream> {
  const query = [['event_id', eventId]] as const;
  return client.requestStream(server, {
    method: 'GET',
    path: path('v1', form, roomId),
    query,
    signal,
    ...STATE_TIMEOUTS,
  });
}

/** All that an event rests on through auth_events, whole. Rejects with RemoteError. */
export function requestAuthChain(
  client: FederationClient,
  server: ServerName,
  roomId: RoomId,
  eventId: EventId,
): Promise<RemoteStream> {
  return client.requestStream(server, { method: 'GET', path: path('v1', 'event_auth', roomId, eventId) });
}

/** One event as the other server has it: its JSON, byte for byte, within `waitMs` where that is given. Rejects with RemoteError. */
export async function requestEvent(
  client: FederationClient,
  server: ServerName,
  eventId: EventId,
  signal?: AbortSignal,
  waitMs?: number,
): Promise<Buffer> {
  const answer = await client.requestStream(server, {
    method: 'GET',
    path: path('v1', 'event', eventId),
    signal,
    firstByteTimeoutMs: waitMs,
    totalTimeoutMs: waitMs,
  });
  const pdus = await pdusIn(server, answer, 'pdus', EVENT_ANSWER_BYTES_MAX, 2);
  const [pdu] = pdus;
  if (pdu === undefined || pdus.length > 1) throw new RemoteError('malformed', server, 'event: not exactly one PDU');
  return pdu;
}

/**
 * The first `most` objects in a list of an answer, as received: parsing and writing them again would change bytes that are
 * signed. The others are not kept: ten megabytes have room for millions of `{}`.
 */
async function pdusIn(
  server: ServerName,
  answer: RemoteStream,
  field: string,
  bytesMax: number,
  most: number,
): Promise<Buffer[]> {
  const pdus: Buffer[] = [];
  const splitter = new ResponseSplitter({
    arrays: new Set([field]),
    element: (_field, bytes) => {
      if (bytes[0] === OPEN_BRACE && pdus.length < most) pdus.push(Buffer.from(bytes));
    },
    member: () => undefined,
    oversized: () => undefined,
  });
  let length = 0;
  try {
    for await (const chunk of answer.body) {
      length += chunk.length;
      if (length > bytesMax) throw new RemoteError('too-large', server, `${field}: more than ${bytesMax} bytes`);
      splitter.push(chunk);
    }
    splitter.end();
  } catch (error) {
    if (!(error instanceof SplitError)) throw error;
    throw new RemoteError('malformed', server, `${field}: ${error.message}`, { cause: error });
  }
  return pdus;
}

/** Events between some that we have and some that we were told of, oldest first, as received. Rejects with RemoteError. */
export async function requestMissingEvents(
  client: FederationClient,
  server: ServerName,
  roomId: RoomId,
  content: {
    readonly earliest_events: readonly EventId[];
    readonly latest_events: readonly EventId[];
    readonly limit: number;
  },
): Promise<readonly Buffer[]> {
  const answer = await client.requestStream(server, {
    method: 'POST',
    path: path('v1', 'get_missing_events', roomId),
    content,
  });
  return pdusIn(server, answer, 'events', JSON_BODY_BYTES_MAX, content.limit);
}
