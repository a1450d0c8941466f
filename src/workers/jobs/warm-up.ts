/**
 * Job: a self-test that also warms the thread up. A made-up room with real hashes and signatures is verified, stored and
 * authorised by the same code as any other; a thread that gets another answer than "all of it is good" must not serve.
 *
 * The first join of a process is what its user waits for, and unoptimised code is slow. V8 compiles for the kinds of objects
 * that it has seen, so these are the real ones: a store in a temporary folder, a worker context, batches.
 */

import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { eventKeyOf } from '../../kernel/matrix/event-key.js';
import type { KeyNeed } from '../../kernel/signatures/verify-pdu.js';
import { fillRecordNids } from '../../store/event-record.js';
import { StatusBit, setEventStatuses, Verdict } from '../../store/event-status.js';
import type { EventNid, RoomNid } from '../../store/nids.js';
import type { Store } from '../../store/open-store.js';
import { openStore, openStoreReader } from '../../store/open-store.js';
import { putServerKey } from '../../store/server-keys.js';
import type { SharedEventIndex } from '../event-index.js';
import { EventIndexBuilder } from '../event-index.js';
import type { MadeUpRoom } from '../made-up-room.js';
import { MADE_UP_RESIDENT, MADE_UP_ROOM, makeUpRoom } from '../made-up-room.js';
import type { PduBatch } from '../pdu-batch.js';
import { batchOf } from '../pdu-batch.js';
import { WorkerContext } from '../worker-context.js';
import { checkAuthBatch } from './check-auth-batch.js';
import { clientEvents } from './client-events.js';
import type { VerifyPdusOutput } from './verified-batch.js';
import type { VerifyPdusInput } from './verify-pdus.js';
import { verifyPdus } from './verify-pdus.js';

export interface WarmUpInput {
  /** Times that the room is verified and authorised. */
  readonly rounds: number;
}

export interface WarmUpOutput {
  readonly events: number;
}

const ROOM_VERSION = '11';
const MEMBERS = 48;
const POWER_LEVEL_CHANGES = 16;
const ROOM = 1 as RoomNid;
/** No store gives out as many. */
const NIDS_UNUSED = 2 ** 32 - 1;

export function warmUp(input: WarmUpInput, context: WorkerContext): WarmUpOutput {
  const room = makeUpRoom(context.rulesOf(ROOM_VERSION), MEMBERS, POWER_LEVEL_CHANGES);
  const folder = mkdtempSync(join(tmpdir(), 'joinery-warm-up-'));
  const store = openStore(folder, MADE_UP_RESIDENT);
  try {
    store.write((writer) => {
      for (const { serverName, keyId, publicKey } of room.keys) {
        putServerKey(writer, serverName, keyId, { publicKey, validUntilTs: Number.MAX_SAFE_INTEGER, expired: false });
      }
    });
    runRounds(input.rounds, room, store, context);
  } finally {
    void store.close();
    rmSync(folder, { recursive: true });
  }
  return { events: room.events.length };
}

function runRounds(rounds: number, room: MadeUpRoom, store: Store, context: WorkerContext): void {
  // A reader like the thread's own, not the writer.
  const reader = openStoreReader(store.path);
  const [own, keyless] = [new WorkerContext(reader), new WorkerContext(context.reader)];
  const nids = Uint32Array.from(room.events, (_, i) => i + 1);
  // Under numbers that are free: what is stored would not be verified.
  const listed = indexOf(
    room,
    nids.map((nid) => NIDS_UNUSED - nid),
  );
  const batch = () => batchOf(room.events.map(({ text }) => Buffer.from(text)));
  const place = { roomVersion: ROOM_VERSION, roomId: MADE_UP_ROOM };
  for (let round = 0; round < rounds; round++) {
    // As in a join, without an index, and as in a resync, with one; before the keys are there, and after.
    const index = round % 2 === 0 ? undefined : listed;
    const { needs } = verifyPdus(structuredClone(inputOf(batch(), undefined, index)), keyless);
    const verified = verifyPdus(structuredClone(inputOf(batch(), round % 4 === 0 ? needs : undefined, index)), own);
    if (verified.signaturesVerified !== room.events.length) {
      throw new Error(`self-test: ${verified.refusals[0]?.reason ?? 'an event does not verify'}`);
    }
    if (round === 0) storeAll(store, reader, room, verified);
    const judged = checkAuthBatch(structuredClone({ ...place, roomNid: ROOM, createNid: 1 as EventNid, nids }), own);
    if (judged.refusals[0] !== undefined) throw new Error(`self-test: ${judged.refusals[0].reason}`);
    clientEvents(structuredClone({ ...place, nids, memberships: undefined }), own);
    // The thread's own store, too, has been read by then; it has no such events.
    clientEvents({ ...place, nids: nids.map((nid) => NIDS_UNUSED - nid), memberships: undefined }, keyless);
  }
  void reader.close();
}

/** What the job gets in a join, cloned by the caller: what came as a message is another kind of object than what was made here. */
function inputOf(
  batch: PduBatch,
  fetched: readonly KeyNeed[] | undefined,
  index: SharedEventIndex | undefined,
): VerifyPdusInput {
  // In the order of ingest-events.ts, or it is yet another kind of object.
  return {
    roomVersion: ROOM_VERSION,
    roomId: MADE_UP_ROOM,
    batch,
    stateOnly: true,
    pushed: false,
    fetched,
    index,
  };
}

function indexOf({ events }: MadeUpRoom, nids: Uint32Array): SharedEventIndex {
  const builder = new EventIndexBuilder(1);
  for (const { eventId } of events) builder.add(eventKeyOf(eventId));
  const index = builder.finish();
  index.nids.set(nids);
  return index;
}

/** Event n gets NID n + 1. */
function storeAll(store: Store, reader: { refresh(): void }, { events }: MadeUpRoom, verified: VerifyPdusOutput): void {
  store.write((writer) => {
    for (const [n, { text, auth }] of events.entries()) {
      const record = Buffer.from(verified.records.slice(verified.recordOffsets[n], verified.recordOffsets[n + 1]));
      fillRecordNids(
        record,
        0,
        ROOM,
        auth.map((cited) => (cited + 1) as EventNid),
      );
      writer.tables.event_body_by_nid.put(n + 1, Buffer.from(text));
      writer.tables.event_record_by_nid.put(n + 1, record);
    }
    const nids = events.map((_, n) => (n + 1) as EventNid);
    setEventStatuses(writer, nids, () => Verdict.unjudged | StatusBit.outlier);
  });
  store.refresh();
  reader.refresh();
}
