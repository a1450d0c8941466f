/**
 * Resync, first step: which events make up the state before an event. `/state_ids` streams in; every ID gets its place in
 * an index that the workers share, and a NID. IDs are written to the store sorted, which is what makes 200,000 of them
 * cheap. Specification v1.19, server-server API, GET state_ids.
 */

import { setImmediate as nextTurn } from 'node:timers/promises';
import { eventKeyOf, isHashEventId } from '../kernel/matrix/event-key.js';
import type { EventId, RoomId, ServerName } from '../kernel/matrix/ids.js';
import { parseEventId } from '../kernel/matrix/ids.js';
import { RemoteError } from '../remote/remote-error.js';
import { ResponseSplitter } from '../remote/split-response.js';
import { requestStateIds } from '../remote/state-requests.js';
import { eventNidOfKey, putEventKey } from '../store/events.js';
import type { EventNid } from '../store/nids.js';
import { takeNumbers } from '../store/open-store.js';
import type { RoomServer } from '../room/room-server.js';
import type { SharedEventIndex } from '../workers/event-index.js';
import { EventIndexBuilder, keyAt } from '../workers/event-index.js';

/** IDs looked up or written between two turns of the event loop: about 5 ms. */
const IDS_A_TURN = 2_000;

export interface ListedState {
  readonly index: SharedEventIndex;
  readonly count: number;
  /** Positions of the state events; the others are auth chain only. */
  readonly statePositions: readonly number[];
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
  const response = await requestStateIds(server.client, via, roomId, eventId, signal);
  const builder = new EventIndexBuilder(Math.floor(server.random() * 2 ** 32));
  const inState = new Set<number>();
  const opaque = new Map<number, EventId>();
  let malformed: string | undefined;
  const splitter = new ResponseSplitter({
    arrays: new Set(['pdu_ids', 'auth_chain_ids']),
    element: (field, bytes) => {
      const id = parseEventId(bytes[0] === 0x22 ? (JSON.parse(bytes.toString('utf8')) as unknown) : undefined);
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
  for await (const chunk of response.body) {
    bytes += chunk.length;
    splitter.push(chunk);
    stage.bytes = bytes;
    stage.done = builder.count;
  }
  splitter.end();
  if (malformed !== undefined) throw new RemoteError('malformed', via, `state_ids: ${malformed}`);
  if (inState.size === 0) throw new RemoteError('malformed', via, 'state_ids: the list of state events is empty');
  const index = builder.finish();
  await internIndex(server, index, builder.count, opaque);
  server.progressOf(roomId).end('state_ids');
  return { index, count: builder.count, statePositions: [...inState], bytes };
}

/** Gives every listed ID its NID: known ones keep theirs, new ones get a run of numbers in the order of the list. */
async function internIndex(
  server: RoomServer,
  index: SharedEventIndex,
  count: number,
  opaque: ReadonlyMap<number, EventId>,
): Promise<void> {
  const { store } = server;
  const fresh: number[] = [];
  for (let position = 0; position < count; position++) {
    if (position % IDS_A_TURN === IDS_A_TURN - 1) await nextTurn();
    const known = eventNidOfKey(store, keyAt(index, position));
    if (known === undefined) fresh.push(position);
    else index.nids[position] = known;
  }
  const first = store.write((writer) => takeNumbers(writer, 'next_event_nid', fresh.length));
  for (const [n, position] of fresh.entries()) index.nids[position] = first + n;
  // Sorted by the first four bytes of the key, as LMDB compares them; the position rides in the lower 21 bits.
  const order = Float64Array.from(fresh, (position) => keyAt(index, position).readUInt32BE(0) * 2 ** 21 + position).sort();
  for (let at = 0; at < order.length; at += IDS_A_TURN) {
    store.write((writer) => {
      for (const value of order.subarray(at, at + IDS_A_TURN)) {
        const position = value % 2 ** 21;
        const nid = index.nids[position] as EventNid;
        // An event may have been named by an incoming one while we wrote the others.
        const known = eventNidOfKey(writer, keyAt(index, position));
        if (known === undefined) putEventKey(writer, keyAt(index, position), nid);
        else index.nids[position] = known;
        const id = opaque.get(position);
        if (id !== undefined) writer.tables.opaque_event_id_by_nid.put(nid, id);
      }
    });
    await nextTurn();
  }
}
