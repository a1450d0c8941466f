/**
 * Events by NID: IDs to NIDs and back, bodies, and the view of an event that the kernel reads.
 *
 * A NID exists from the moment an ID is first named (as an auth event, in a list of state); the body may come later or
 * never. Bodies are kept as received; `loadAuthEvent` returns the checked form, redacted where the hash failed.
 */

import type { AuthEvent } from '../kernel/matrix/auth-event.js';
import { eventIdOfHash, eventKeyOf, isHashEventId } from '../kernel/matrix/event-key.js';
import type { EventId, RoomId } from '../kernel/matrix/ids.js';
import type { JsonObject, JsonValue } from '../kernel/matrix/json.js';
import { isJsonObject } from '../kernel/matrix/json.js';
import { redactEvent } from '../kernel/matrix/redact.js';
import type { RoomVersionRules } from '../kernel/matrix/room-versions.js';
import type { EventRecord, RecordDraft } from './event-record.js';
import {
  fillRecordNids,
  RecordFlag,
  readRecord,
  recordBytesMax,
  recordIsRedacted,
  writeRecord,
} from './event-record.js';
import { eventStatus, StatusBit, VERDICT_BITS, Verdict } from './event-status.js';
import type { EventNid, RoomNid } from './nids.js';
import type { StoreReader, StoreWriter } from './open-store.js';
import { takeNumbers } from './open-store.js';

/** The NID of an event ID, or undefined when it was never named here. */
export function eventNidOf(reader: StoreReader, eventId: EventId): EventNid | undefined {
  return eventNidOfKey(reader, eventKeyOf(eventId));
}

/** The NID of an event key (32 bytes). */
export function eventNidOfKey(reader: StoreReader, key: Buffer): EventNid | undefined {
  return reader.tables.event_nid_by_key.getBinaryFast(key)?.readUInt32LE(0) as EventNid | undefined;
}

/** The NIDs of event IDs, made where they are new. */
export function internEventIds(writer: StoreWriter, eventIds: readonly EventId[]): EventNid[] {
  return eventIds.map((id) => {
    const key = eventKeyOf(id);
    const known = eventNidOfKey(writer, key);
    if (known !== undefined) return known;
    const nid = takeNumbers(writer, 'next_event_nid', 1) as EventNid;
    putEventKey(writer, key, nid);
    if (!isHashEventId(id)) writer.tables.opaque_event_id_by_nid.put(nid, id);
    return nid;
  });
}

const nidScratch = Buffer.alloc(4);

/** Names a NID for a key; for bulk interning, in ascending order of keys. */
export function putEventKey(writer: StoreWriter, key: Buffer, nid: EventNid): void {
  nidScratch.writeUInt32LE(nid);
  writer.tables.event_nid_by_key.put(key, nidScratch);
}

/** Names `nid` for a key that is new; where the key has a NID already, that one is returned and `nid` stays unused. */
export function claimEventKey(writer: StoreWriter, key: Buffer, nid: EventNid): EventNid {
  nidScratch.writeUInt32LE(nid);
  if (writer.tables.event_nid_by_key.putNew(key, nidScratch)) return nid;
  return eventNidOfKey(writer, key) as EventNid;
}

/** The record, or undefined while only the ID is known. */
export function loadRecord(reader: StoreReader, nid: EventNid): EventRecord | undefined {
  const bytes = reader.tables.event_record_by_nid.getBinaryFast(nid);
  return bytes === undefined ? undefined : readRecord(bytes);
}

/** The event ID of a NID that has a record. */
export function eventIdOfNid(reader: StoreReader, nid: EventNid): EventId {
  const opaque = reader.tables.opaque_event_id_by_nid.get(nid) as EventId | undefined;
  if (opaque !== undefined) return opaque;
  const record = loadRecord(reader, nid);
  if (record === undefined) throw new Error(`event ${nid} has no record`);
  return eventIdOfHash(record.eventKey);
}

/** The event ID of a record. */
export function eventIdOfRecord(reader: StoreReader, nid: EventNid, record: EventRecord): EventId {
  return (record.flags & RecordFlag.opaqueId) === 0 ? eventIdOfHash(record.eventKey) : eventIdOfNid(reader, nid);
}

/** The stored bytes, or undefined while only the ID is known. */
export function loadBody(reader: StoreReader, nid: EventNid): Buffer | undefined {
  return reader.tables.event_body_by_nid.get(nid) as Buffer | undefined;
}

/** Whether the event is shown and served only in its redacted form. */
export function isRedacted(record: EventRecord, status: number): boolean {
  return (record.flags & RecordFlag.redacted) !== 0 || (status & StatusBit.redacted) !== 0;
}

/** The event in its checked form (redacted where its hash failed or a redaction applied), with its record and status. */
export interface LoadedEvent {
  readonly nid: EventNid;
  readonly eventId: EventId;
  readonly record: EventRecord;
  readonly status: number;
  readonly json: JsonObject;
}

/** Loads and parses an event; undefined when there is no body. */
export function loadEvent(reader: StoreReader, rules: RoomVersionRules, nid: EventNid): LoadedEvent | undefined {
  const record = loadRecord(reader, nid);
  const text = reader.tables.event_body_by_nid.getBinaryFast(nid)?.toString('utf8');
  if (record === undefined || text === undefined) return undefined;
  const status = eventStatus(reader, nid);
  const received = JSON.parse(text) as JsonObject;
  const json = isRedacted(record, status) ? redactEvent(rules.redaction, received) : received;
  return { nid, eventId: eventIdOfRecord(reader, nid, record), record, status, json };
}

/** Whether the event was authorised and not rejected. */
export function isAccepted(status: number): boolean {
  return (status & VERDICT_BITS) === Verdict.accepted;
}

/** Event references of either form as IDs. */
export function referencedIds(list: JsonValue | undefined): EventId[] {
  if (!Array.isArray(list)) return [];
  return (list as readonly JsonValue[]).map((item) => (Array.isArray(item) ? item[0] : item) as EventId);
}

/** What the kernel reads of a loaded event. `roomId`: of the room it was stored for. */
export function authEventOf(event: LoadedEvent, roomId: RoomId): AuthEvent {
  const { record, json, status } = event;
  return {
    eventId: event.eventId,
    roomId,
    type: record.type,
    stateKey: record.stateKey,
    sender: record.sender,
    content: isJsonObject(json.content) ? json.content : {},
    originServerTs: record.originServerTs,
    depth: record.depth,
    authEventIds: referencedIds(json.auth_events),
    prevEventIds: referencedIds(json.prev_events),
    redacts: typeof json.redacts === 'string' ? (json.redacts as EventId) : undefined,
    rejected: (status & VERDICT_BITS) === Verdict.rejected,
  };
}

/** One event to be stored whole. */
export interface EventToStore {
  readonly nid: EventNid;
  /** JSON as received, without `unsigned`. */
  readonly text: string;
  readonly draft: RecordDraft;
  /** In the order of the event's auth_events. */
  readonly authNids: readonly EventNid[];
}

/** Stores body and record of an event whose NID exists; its status is set apart. */
export function putEvent(writer: StoreWriter, room: RoomNid, event: EventToStore): void {
  const record = Buffer.alloc(recordBytesMax(event.draft));
  const length = writeRecord(record, 0, event.draft);
  fillRecordNids(record, 0, room, event.authNids);
  writer.tables.event_body_by_nid.put(event.nid, Buffer.from(event.text, 'utf8'));
  writer.tables.event_record_by_nid.put(event.nid, record.subarray(0, length));
}

/** The event as served to other servers: as stored, or its redacted form where the hash failed or a redaction applied. */
export function servedBody(reader: StoreReader, rules: RoomVersionRules, nid: EventNid): Buffer | undefined {
  const record = reader.tables.event_record_by_nid.getBinaryFast(nid);
  if (record === undefined) return undefined;
  const redacted = recordIsRedacted(record) || (eventStatus(reader, nid) & StatusBit.redacted) !== 0;
  const body = reader.tables.event_body_by_nid.getBinaryFast(nid);
  if (body === undefined || !redacted)
    return body === undefined ? undefined : Buffer.from(body.subarray(0, body.length));
  const event = JSON.parse(body.toString('utf8')) as JsonObject;
  return Buffer.from(JSON.stringify(redactEvent(rules.redaction, event)), 'utf8');
}
