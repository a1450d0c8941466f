/**
 * A signed room in a real store: verified by the verifyPdus job, interned, written. For benches and tests of what reads
 * events; how fast this itself is, scripts/hq measures.
 */

import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { EventId } from '../src/kernel/matrix/ids.js';
import type { SigningKey } from '../src/kernel/signatures/ed25519.js';
import { fillRecordNids } from '../src/store/event-record.js';
import { internEventIds } from '../src/store/events.js';
import type { EventNid, RoomNid } from '../src/store/nids.js';
import type { Store } from '../src/store/open-store.js';
import { openStore } from '../src/store/open-store.js';
import { internRoom } from '../src/store/rooms.js';
import { putServerKey } from '../src/store/server-keys.js';
import { verifyPdus } from '../src/workers/jobs/verify-pdus.js';
import { batchOf } from '../src/workers/pdu-batch.js';
import { WorkerContext } from '../src/workers/worker-context.js';
import type { SignedRoom } from './signed-room.js';

/** Runs `use` with a new store in a temporary folder, and removes the folder. */
export async function withStore<T>(use: (store: Store) => T | Promise<T>): Promise<T> {
  const folder = mkdtempSync(join(tmpdir(), 'joinery-bench-'));
  const store = openStore(folder, 'joinery.test');
  try {
    return await use(store);
  } finally {
    await store.close();
    rmSync(folder, { recursive: true, force: true });
  }
}

/** Puts the public keys of servers, valid for ever. */
export function storeKeys(store: Store, keys: readonly SigningKey[]): void {
  store.write((writer) => {
    for (const { serverName, keyId, publicKey } of keys) {
      putServerKey(writer, serverName, keyId, { publicKey, validUntilTs: Number.MAX_SAFE_INTEGER, expired: false });
    }
  });
}

/** Stores the keys and all events of a room; returns its NID and those of the events, in order. */
export function storeRoom(store: Store, room: SignedRoom): { roomNid: RoomNid; nids: EventNid[] } {
  storeKeys(store, room.keys);
  const verified = verifyPdus(
    {
      roomVersion: room.rules.version,
      roomId: room.roomId,
      batch: batchOf(room.bodies),
      stateOnly: true,
      pushed: true,
      fetched: [],
      index: undefined,
    },
    new WorkerContext(store),
  );
  const refusal = verified.refusals[0];
  if (refusal !== undefined) throw new Error(`event ${refusal.number} was refused: ${refusal.reason}`);
  const stored = store.write((writer) => {
    const roomNid = internRoom(writer, room.roomId);
    const nids = internEventIds(
      writer,
      room.events.map(({ eventId }) => eventId),
    );
    for (const [i, nid] of nids.entries()) {
      const authNids = internEventIds(writer, room.events[i]?.json.auth_events as readonly EventId[]);
      const record = Buffer.from(verified.records.slice(verified.recordOffsets[i], verified.recordOffsets[i + 1]));
      fillRecordNids(record, 0, roomNid, authNids);
      const start = verified.offsets[i] as number;
      writer.tables.event_body_by_nid.put(
        nid,
        Buffer.from(verified.bytes.slice(start, start + (verified.lengths[i] as number))),
      );
      writer.tables.event_record_by_nid.put(nid, record);
    }
    return { roomNid, nids };
  });
  store.refresh();
  return stored;
}
