/**
 * Stored events as the JSON that clients see: a few on this thread, many on the workers, so that a state of 85,000 events
 * never holds up the event loop. Specification v1.19, client-server API, "Room event format".
 */

import type { JsonObject } from '../kernel/matrix/json.js';
import { redactionOf } from '../room/redactions/apply-redactions.js';
import { eventStatus, StatusBit } from '../store/event-status.js';
import { isAccepted, loadEvent } from '../store/events.js';
import type { EventNid } from '../store/nids.js';
import type { Store, StoreReader } from '../store/open-store.js';
import type { Room } from '../store/rooms.js';
import { CLIENT_BATCH_EVENTS_MAX, clientEventOf } from '../workers/jobs/client-events.js';
import type { WorkerPool } from '../workers/pool.js';

/** What clients are answered from. */
export interface SyncServer {
  readonly store: Store;
  readonly pool: WorkerPool;
}

/** Events that are shaped on this thread: some 2 ms, less than a worker's turn in a full queue. */
const INLINE_EVENTS_MAX = 128;

/** Bytes of one long list that wait to be sent: a room of 100,000 members; what is beyond is shaped again when its turn comes. */
export const SHAPED_BYTES_HELD_MAX = 32 * 1024 * 1024;
/** Batches shaped ahead of the reader where they are shaped again: about 3 MB. */
const BATCHES_AHEAD = 4;

const COMMA = Buffer.from(',');

/** An accepted event in client form; undefined for one that is not, or not here. */
export function clientForm(reader: StoreReader, room: Room, nid: EventNid): JsonObject | undefined {
  if (!isAccepted(eventStatus(reader, nid))) return undefined;
  const event = loadEvent(reader, room.rules, nid);
  if (event === undefined) return undefined;
  const because = (event.status & StatusBit.redacted) === 0 ? undefined : redactionOf(reader, room, nid);
  const redaction = because === undefined ? undefined : loadEvent(reader, room.rules, because);
  if (redaction === undefined) return clientEventOf(event, room.roomId);
  return clientEventOf(event, room.roomId, { redacted_because: clientEventOf(redaction, room.roomId) });
}

/**
 * The inside of a JSON list of events, in pieces. `memberships`: bits of `membershipBits`, where only some members are
 * wanted. Of a large list the caller must know that its events are accepted, as those of a state are.
 */
export async function shapeEvents(
  server: SyncServer,
  room: Room,
  nids: Uint32Array<ArrayBuffer>,
  memberships?: number,
): Promise<Uint8Array[]> {
  if (nids.length <= INLINE_EVENTS_MAX && memberships === undefined) {
    const events = Array.from(nids, (nid) => clientForm(server.store, room, nid as EventNid));
    const text = events.filter((event) => event !== undefined).map((event) => JSON.stringify(event));
    return text.length === 0 ? [] : [Buffer.from(text.join(','), 'utf8')];
  }
  const parts = await Promise.all(batchesOf(nids).map((batch) => shapeBatch(server, room, batch, memberships)));
  return parts.filter(({ length }) => length > 0).flatMap((part, i) => (i === 0 ? [part] : [COMMA, part]));
}

function batchesOf(nids: Uint32Array<ArrayBuffer>): Uint32Array<ArrayBuffer>[] {
  return Array.from({ length: Math.ceil(nids.length / CLIENT_BATCH_EVENTS_MAX) }, (_, n) =>
    nids.slice(n * CLIENT_BATCH_EVENTS_MAX, (n + 1) * CLIENT_BATCH_EVENTS_MAX),
  );
}

async function shapeBatch(
  server: SyncServer,
  room: Room,
  nids: Uint32Array<ArrayBuffer>,
  memberships: number | undefined,
): Promise<Uint8Array> {
  const input = { roomVersion: room.version, roomId: room.roomId, nids: nids.slice(), memberships };
  return (await server.pool.run('clientEvents', input, 'bulk')).bytes;
}

/** The inside of a long JSON list of events: how many bytes it has, and the bytes, once. */
export interface ShapedList {
  readonly contentLength: number;
  readonly chunks: AsyncIterable<Uint8Array> | Iterable<Uint8Array>;
}

interface ShapedBatch {
  readonly nids: Uint32Array<ArrayBuffer>;
  readonly length: number;
  /** Undefined: to be shaped again. */
  bytes: Uint8Array | undefined;
}

/**
 * shapeEvents for lists whose bytes would be too many to hold: all are shaped once to know the length, and those beyond
 * `heldBytesMax` a second time while the list is sent. Where an event was redacted in between the list breaks off with an
 * error, and the client asks again.
 */
export async function shapeLongList(
  server: SyncServer,
  room: Room,
  nids: Uint32Array<ArrayBuffer>,
  memberships: number | undefined,
  heldBytesMax = SHAPED_BYTES_HELD_MAX,
): Promise<ShapedList> {
  if (nids.length <= CLIENT_BATCH_EVENTS_MAX) {
    const chunks = await shapeEvents(server, room, nids, memberships);
    return { contentLength: chunks.reduce((sum, { length }) => sum + length, 0), chunks };
  }
  let held = 0;
  const shape = async (batch: Uint32Array<ArrayBuffer>): Promise<ShapedBatch> => {
    const bytes = await shapeBatch(server, room, batch, memberships);
    const { length } = bytes;
    if (held + length > heldBytesMax) return { nids: batch, length, bytes: undefined };
    held += length;
    return { nids: batch, length, bytes };
  };
  const batches = (await Promise.all(batchesOf(nids).map(shape))).filter(({ length }) => length > 0);
  const contentLength = batches.reduce((sum, { length }) => sum + length, Math.max(0, batches.length - 1));
  const again = (batch: ShapedBatch) => shapeBatch(server, room, batch.nids, memberships);
  return { contentLength, chunks: batchBytes(batches, again) };
}

async function* batchBytes(
  batches: readonly ShapedBatch[],
  again: (batch: ShapedBatch) => Promise<Uint8Array>,
): AsyncGenerator<Uint8Array> {
  const ahead = new Map<ShapedBatch, Promise<Uint8Array>>();
  for (const [i, batch] of batches.entries()) {
    for (const next of batches.slice(i, i + BATCHES_AHEAD)) {
      if (next.bytes !== undefined || ahead.has(next)) continue;
      const shaping = again(next);
      // It is awaited in its turn; where the reader goes away before, nobody does.
      shaping.catch(() => undefined);
      ahead.set(next, shaping);
    }
    const bytes = batch.bytes ?? (await ahead.get(batch)) ?? new Uint8Array(0);
    ahead.delete(batch);
    batch.bytes = new Uint8Array(0);
    if (bytes.length !== batch.length) throw new Error('an event of the list was redacted while the list was sent');
    if (i > 0) yield COMMA;
    yield bytes;
  }
}
