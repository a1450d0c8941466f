/**
 * Resync, first step: which events make up the state before an event. `/state_ids` streams in; every ID gets its place in
 * an index that the workers share, and a NID. IDs are written to the store sorted, which is what makes 200,000 of them
 * cheap. Specification v1.19, server-server API, GET state_ids.
 */

import { setImmediate as nextTurn } from 'node:timers/promises';
import { EVENT_KEY_BYTES, eventIdOfHash, eventKeyOf, isHashEventId } from '../kernel/matrix/event-key.js';
import type { EventId, RoomId, ServerName } from '../kernel/matrix/ids.js';
import { parseEventId } from '../kernel/matrix/ids.js';
import { HASH_EVENT_ID_BYTES, isHashEventIdAt, writeHashEventKey } from '../kernel/pdu-bytes/hash-event-id.js';
import { atMinimumPace } from '../remote/minimum-pace.js';
import { RemoteError } from '../remote/remote-error.js';
import { ResponseSplitter } from '../remote/split-response.js';
import { requestStateBefore } from '../remote/state-requests.js';
import type { Stage } from '../room/room-progress.js';
import type { RoomServer } from '../room/room-server.js';
import { eventStatuses, VERDICT_BITS } from '../store/event-status.js';
import { claimEventKey } from '../store/events.js';
import type { EventNid } from '../store/nids.js';
import { takeNumbers } from '../store/open-store.js';
import type { SharedEventIndex } from '../workers/event-index.js';
import { EventIndexBuilder, keyAt } from '../workers/event-index.js';

/** IDs looked up or written between two turns of the event loop: about 5 ms. */
const IDS_A_TURN = 2_000;
/** Repetitions that are tolerated, beyond each event once in each of the two lists: so that no list goes on for ever. */
export const REPEATS_MAX = 10_000;

export interface ListedState {
  readonly index: SharedEventIndex;
  readonly count: number;
  /** Positions of the state events; the others are auth chain only. */
  readonly statePositions: Uint32Array;
  readonly bytes: number;
}

/** Asks one server. Throws RemoteError or SplitError when the answer is no list of state. */
export async function listState(
  server: RoomServer,
  via: ServerName,
  roomId: RoomId,
  eventId: EventId,
  signal: AbortSignal,
): Promise<ListedState> {
  const stage = server.progressOf(roomId).start('state_ids');
  const response = await requestStateBefore(server.client, via, 'state_ids', roomId, eventId, signal);
  const builder = new EventIndexBuilder(Math.floor(server.random() * 2 ** 32));
  const inState = new PositionSet();
  const opaque = new Map<number, EventId>();
  const key = Buffer.alloc(EVENT_KEY_BYTES);
  let malformed: string | undefined;
  let elements = 0;
  const splitter = new ResponseSplitter({
    arrays: new Set(['pdu_ids', 'auth_chain_ids']),
    element: (field, bytes) => {
      elements += 1;
      if (bytes.length === HASH_EVENT_ID_BYTES + 2 && isHashEventIdAt(bytes, 1)) {
        writeHashEventKey(bytes, 1, key, 0);
        const position = builder.add(key);
        if (field === 'pdu_ids') inState.add(position);
        return;
      }
      const id = idIn(bytes);
      if (id === undefined) {
        malformed ??= `${field} holds something that is not an event ID`;
        return;
      }
      const position = builder.add(eventKeyOf(id));
      if (field === 'pdu_ids') inState.add(position);
      if (!isHashEventId(id)) opaque.set(position, id);
    },
    member: () => undefined,
    oversized: (field) => {
      malformed ??= `${field} holds something that is not an event ID`;
    },
  });
  let bytes = 0;
  for await (const chunk of atMinimumPace(response.body, via, 'state_ids', server.clock, () => builder.count)) {
    bytes += chunk.length;
    splitter.push(chunk);
    if (elements > 2 * builder.count + REPEATS_MAX)
      throw new RemoteError('malformed', via, `state_ids: repeats events more than ${REPEATS_MAX} times`);
    stage.bytes = bytes;
  }
  splitter.end();
  if (malformed !== undefined) throw new RemoteError('malformed', via, `state_ids: ${malformed}`);
  if (inState.size === 0) throw new RemoteError('malformed', via, 'state_ids: the list of state events is empty');
  const index = builder.finish();
  // Until here nobody knows how many there are; what counts from here on is how many of them are numbered.
  stage.total = builder.count;
  await internIndex(server, index, stage, opaque);
  server.progressOf(roomId).end('state_ids');
  return { index, count: builder.count, statePositions: inState.toArray(), bytes };
}

/** A set of positions, a byte each: a Set of half a million numbers takes forty times that. */
class PositionSet {
  #has = new Uint8Array(1024);
  size = 0;

  add(position: number): void {
    if (position >= this.#has.length) {
      const larger = new Uint8Array(2 ** Math.ceil(Math.log2(position + 1)));
      larger.set(this.#has);
      this.#has = larger;
    }
    if (this.#has[position] === 0) this.size += 1;
    this.#has[position] = 1;
  }

  toArray(): Uint32Array {
    const positions = new Uint32Array(this.size);
    let n = 0;
    for (let position = 0; n < this.size; position++) if (this.#has[position] === 1) positions[n++] = position;
    return positions;
  }
}

/** The event ID that an element of the list is, or undefined. */
function idIn(element: Buffer): EventId | undefined {
  try {
    return parseEventId(element[0] === 0x22 ? JSON.parse(element.toString('utf8')) : undefined);
  } catch {
    // Not JSON: as little an event ID as anything else.
    return undefined;
  }
}

/** Gives every listed ID its NID: known ones keep theirs, new ones get the numbers of their places in the list. */
async function internIndex(
  server: RoomServer,
  index: SharedEventIndex,
  stage: Stage,
  opaque: ReadonlyMap<number, EventId>,
): Promise<void> {
  const { store } = server;
  const count = stage.total;
  // In the background: what a crash loses is listed again, and whatever refers to these numbers is written after them.
  const first = await store.writeInBackground((writer) => takeNumbers(writer, 'next_event_nid', count));
  const keys = Buffer.from(index.keys.buffer);
  // Sorted by the first four bytes of the key, as LMDB compares them; the position rides in the lower 21 bits.
  const order = new Float64Array(count);
  for (let position = 0; position < count; position++) {
    order[position] = keys.readUInt32BE(position * EVENT_KEY_BYTES) * 2 ** 21 + position;
  }
  await nextTurn();
  order.sort();
  for (let at = 0; at < count; at += IDS_A_TURN) {
    await store.writeInBackground((writer) => {
      for (const value of order.subarray(at, at + IDS_A_TURN)) {
        const position = value % 2 ** 21;
        const key = keys.subarray(position * EVENT_KEY_BYTES, (position + 1) * EVENT_KEY_BYTES);
        index.nids[position] = claimEventKey(writer, key, (first + position) as EventNid);
        const id = opaque.get(position);
        if (id !== undefined) writer.tables.opaque_event_id_by_nid.put(index.nids[position] as number, id);
      }
    });
    stage.done = Math.min(count, at + IDS_A_TURN);
  }
}

/** The ID of a listed event. */
export function idAt({ store }: RoomServer, listed: ListedState, position: number): EventId {
  const opaque = store.tables.opaque_event_id_by_nid.get(nidAt(listed, position)) as EventId | undefined;
  return opaque ?? eventIdOfHash(keyAt(listed.index, position));
}

/** NID of a listed event. */
export function nidAt(listed: ListedState, position: number): EventNid {
  return listed.index.nids[position] as EventNid;
}

/** Verdicts on the listed events as they stand, by position; status pages are read once. */
export function listedVerdicts(server: RoomServer, listed: ListedState): Uint8Array {
  const nids = listed.index.nids.subarray(0, listed.count);
  const first = nids.reduce((least, nid) => Math.min(least, nid), Number.MAX_SAFE_INTEGER);
  const last = nids.reduce((most, nid) => Math.max(most, nid), 0);
  const statuses = eventStatuses(server.store, first as EventNid, last - first + 1);
  return Uint8Array.from(nids, (nid) => (statuses[nid - first] as number) & VERDICT_BITS);
}
