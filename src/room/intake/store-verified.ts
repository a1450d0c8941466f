/**
 * Writes the events that a worker verified: bytes as received, compact records with their NIDs filled in, status
 * *unjudged*. Nothing reads them as accepted until judge-events.ts has passed over them.
 */

import { EVENT_KEY_BYTES } from '../../kernel/matrix/event-key.js';
import { RECORD_HEADER_BYTES } from '../../store/event-record.js';
import { eventStatuses, StatusBit, setEventStatuses, VERDICT_BITS, Verdict } from '../../store/event-status.js';
import { eventNidOfKey, putEventKey } from '../../store/events.js';
import type { EventNid, RoomNid } from '../../store/nids.js';
import type { StoreWriter } from '../../store/open-store.js';
import { takeNumbers } from '../../store/open-store.js';
import type { SharedEventIndex } from '../../workers/event-index.js';
import type { VerifyPdusOutput } from '../../workers/jobs/verified-batch.js';
import { Outcome } from '../../workers/jobs/verified-batch.js';

/** Statuses read together: a page. */
const STATUSES_READ_AT_ONCE = 1024;

/** One verified event in the store. `isNew`: it was not there before. */
export interface StoredEvent {
  /** Its number in the batch. */
  readonly number: number;
  readonly nid: EventNid;
  readonly isNew: boolean;
}

/** Stores what was verified in one batch; with an index, only events that it lists. */
export function storeVerified(
  writer: StoreWriter,
  room: RoomNid,
  output: VerifyPdusOutput,
  index: SharedEventIndex | undefined,
): StoredEvent[] {
  const { tables } = writer;
  const bytes = Buffer.from(output.bytes.buffer, output.bytes.byteOffset, output.bytes.length);
  const keys = Buffer.from(output.eventKeys.buffer, output.eventKeys.byteOffset, output.eventKeys.length);
  const records = Buffer.from(output.records.buffer, output.records.byteOffset, output.records.length);
  const authKeys = Buffer.from(output.authKeys.buffer, output.authKeys.byteOffset, output.authKeys.length);
  const stored: StoredEvent[] = [];
  const opaque = new Map(output.opaqueIds);
  const known = knownVerdicts(writer);
  const fresh = new Set<EventNid>();
  const numbers = newEventNids(writer);
  for (let i = 0; i < output.outcomes.length; i++) {
    const outcome = output.outcomes[i];
    if (outcome !== Outcome.verified && outcome !== Outcome.stored) continue;
    const position = output.positions[i] as number;
    if (index !== undefined && position < 0) continue;
    const nid = index === undefined ? internKey(writer, keys, i, numbers) : (index.nids[position] as EventNid);
    if (known(nid) !== Verdict.none || fresh.has(nid)) {
      stored.push({ number: i, nid, isNew: false });
      continue;
    }
    // Left out since the worker saw it in the store.
    if (outcome === Outcome.stored) continue;
    const start = output.recordOffsets[i] as number;
    const record = records.subarray(start, output.recordOffsets[i + 1]);
    record.writeUInt32LE(room, 0);
    if (index === undefined) {
      const first = output.authOffsets[i] as number;
      const count = (output.authOffsets[i + 1] as number) - first;
      for (let a = 0; a < count; a++)
        record.writeUInt32LE(internKey(writer, authKeys, first + a, numbers), RECORD_HEADER_BYTES + 4 * a);
    }
    const offset = output.offsets[i] as number;
    tables.event_body_by_nid.put(nid, bytes.subarray(offset, offset + (output.lengths[i] as number)));
    tables.event_record_by_nid.put(nid, record);
    const opaqueId = opaque.get(i);
    if (opaqueId !== undefined) tables.opaque_event_id_by_nid.put(nid, opaqueId);
    stored.push({ number: i, nid, isNew: true });
    fresh.add(nid);
  }
  numbers.close();
  setEventStatuses(writer, [...fresh], () => Verdict.unjudged | StatusBit.outlier);
  return stored;
}

/** Verdicts as they were before this write; status pages are read once for neighbouring NIDs. */
function knownVerdicts(writer: StoreWriter): (nid: EventNid) => number {
  let first = -1;
  let statuses: Uint8Array = new Uint8Array(0);
  return (nid) => {
    if (first < 0 || nid < first || nid >= first + statuses.length) {
      first = nid - (nid % STATUSES_READ_AT_ONCE);
      statuses = eventStatuses(writer, first as EventNid, STATUSES_READ_AT_ONCE);
    }
    return (statuses[nid - first] as number) & VERDICT_BITS;
  };
}

/** Numbers for new events, the counter read and written once for all of one write's. */
interface NewEventNids {
  next: EventNid;
  close(): void;
}

function newEventNids(writer: StoreWriter): NewEventNids {
  const first = takeNumbers(writer, 'next_event_nid', 0);
  const numbers: NewEventNids = {
    next: first as EventNid,
    close: () => {
      if (numbers.next > first) takeNumbers(writer, 'next_event_nid', numbers.next - first);
    },
  };
  return numbers;
}

/** The NID of the n-th key in `keys`, made where it is new. */
function internKey(writer: StoreWriter, keys: Buffer, n: number, numbers: NewEventNids): EventNid {
  const key = keys.subarray(n * EVENT_KEY_BYTES, (n + 1) * EVENT_KEY_BYTES);
  const known = eventNidOfKey(writer, key);
  if (known !== undefined) return known;
  const nid = numbers.next;
  numbers.next = (nid + 1) as EventNid;
  putEventKey(writer, key, nid);
  return nid;
}
