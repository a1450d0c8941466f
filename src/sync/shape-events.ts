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
  const jobs: Promise<Uint8Array>[] = [];
  for (let at = 0; at < nids.length; at += CLIENT_BATCH_EVENTS_MAX) {
    const batch = nids.slice(at, at + CLIENT_BATCH_EVENTS_MAX);
    const input = { roomVersion: room.version, roomId: room.roomId, nids: batch, memberships };
    jobs.push(server.pool.run('clientEvents', input, 'bulk').then((output) => output.bytes));
  }
  const parts = (await Promise.all(jobs)).filter((bytes) => bytes.length > 0);
  return parts.flatMap((part, i) => (i === 0 ? [part] : [COMMA, part]));
}
