/**
 * Writes the events that a worker verified: bytes as received, compact records with their NIDs filled in, status
 * *unjudged*. Nothing reads them as accepted until judge-events.ts has passed over them.
 */

import { EVENT_KEY_BYTES } from '../../kernel/matrix/event-key.js';
import { RECORD_HEADER_BYTES, RecordFlag, recordAuthNids, recordIsRedacted } from '../../store/event-record.js';
import {
  eventStatuses,
  eventVerdict,
  StatusBit,
  setEventStatuses,
  VERDICT_BITS,
  Verdict,
} from '../../store/event-status.js';
import { eventNidOfKey, loadRecord, putEventKey } from '../../store/events.js';
import type { EventNid, RoomNid } from '../../store/nids.js';
import type { StoreReader, StoreWriter } from '../../store/open-store.js';
import { takeNumbers } from '../../store/open-store.js';
import type { SharedEventIndex } from '../../workers/event-index.js';
import type { VerifyPdusOutput } from '../../workers/jobs/verified-batch.js';
import { Outcome } from '../../workers/jobs/verified-batch.js';

/** Statuses read together: a page. */
const STATUSES_READ_AT_ONCE = 1024;

/** One verified event in the store. */
export interface StoredEvent {
  /** Its number in the batch. */
  readonly number: number;
  readonly nid: EventNid;
  /** It was not there before. */
  readonly isNew: boolean;
  /** What has its ID is an event of another room: servers choose IDs in room versions 1 and 2. It was not stored. */
  readonly isTaken: boolean;
}

/** Types whose content auth rules look at: what others rest on is not changed once it is judged. */
const AUTH_TYPES: ReadonlySet<string> = new Set([
  'm.room.create',
  'm.room.member',
  'm.room.power_levels',
  'm.room.join_rules',
  'm.room.third_party_invite',
]);

/**
 * Whether the first copy of an event had a bad content hash, so that only its redacted form counts, and a whole copy may
 * take its place: it is the same event, for the ID is made of the redacted form, which holds the content's hash. Only
 * where no verdict can rest on what the content says.
 */
export function mayBeReplaced(reader: StoreReader, nid: EventNid): boolean {
  const record = loadRecord(reader, nid);
  if (record === undefined || (record.flags & RecordFlag.redacted) === 0) return false;
  return eventVerdict(reader, nid) === Verdict.unjudged || !AUTH_TYPES.has(record.type);
}

/** Stores what was verified in one batch; with an index, only events that it lists. */
export function storeVerified(
  writer: StoreWriter,
  room: RoomNid,
  output: VerifyPdusOutput,
  index: SharedEventIndex | undefined,
  replaceRedacted = false,
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
      const isTaken = opaque.has(i) && loadRecord(writer, nid)?.roomNid !== room;
      if (replaceRedacted && !isTaken && outcome === Outcome.verified) replaceRecord(writer, room, nid, output, i);
      stored.push({ number: i, nid, isNew: false, isTaken });
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
    stored.push({ number: i, nid, isNew: true, isTaken: false });
    fresh.add(nid);
  }
  numbers.close();
  setEventStatuses(writer, [...fresh], () => Verdict.unjudged | StatusBit.outlier);
  return stored;
}

/** Puts a whole copy, PDU i, in the place of one that counts in its redacted form only. */
function replaceRecord(writer: StoreWriter, room: RoomNid, nid: EventNid, output: VerifyPdusOutput, i: number): void {
  const former = writer.tables.event_record_by_nid.get(nid) as Buffer | undefined;
  const record = Buffer.from(output.records.slice(output.recordOffsets[i], output.recordOffsets[i + 1]));
  if (former === undefined || recordIsRedacted(record) || !mayBeReplaced(writer, nid)) return;
  record.writeUInt32LE(room, 0);
  // The same auth events, by the numbers that they have here.
  const auth = recordAuthNids(former);
  for (const [n, authNid] of auth.entries()) record.writeUInt32LE(authNid, RECORD_HEADER_BYTES + 4 * n);
  const start = output.offsets[i] as number;
  writer.tables.event_body_by_nid.put(nid, output.bytes.slice(start, start + (output.lengths[i] as number)));
  writer.tables.event_record_by_nid.put(nid, record);
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
