/**
 * The compact record of an event: what auth checks, state and streams need, so that the body is parsed once only.
 *
 * Layout, little-endian: room NID u32 | body bytes u32 | depth f64 | origin_server_ts f64 | flags u8 | membership u8 |
 * auth count u8 | 0 | type, state key, sender lengths in bytes u16 x 3 | 2 unused | event key 32 bytes | auth NIDs u32
 * each | type, state key, sender as UTF-8. A worker writes it with NIDs of 0; the main thread fills them in place.
 */

import { EVENT_KEY_BYTES } from '../kernel/matrix/event-key.js';
import type { UserId } from '../kernel/matrix/ids.js';
import type { PduScan } from '../kernel/pdu-bytes/scan-pdu.js';
import { MemberNumber as M } from '../kernel/pdu-bytes/scan-pdu.js';
import type { PduBytesVerifier } from '../kernel/pdu-bytes/verify-pdu-bytes.js';
import type { EventNid, RoomNid } from './nids.js';

export const RECORD_HEADER_BYTES = 68;
/** Most auth events of any event we keep, pushed or not: the count is one byte. */
export const RECORD_AUTH_EVENTS_MAX = 255;
const DEPTH = 8;
const TIMESTAMP = 16;
const FLAGS = 24;
const MEMBERSHIP = 25;
const AUTH_COUNT = 26;
const TYPE_BYTES = 28;
const STATE_KEY_BYTES = 30;
const SENDER_BYTES = 32;
/** Where the event key begins in a record. */
export const RECORD_KEY_AT = 36;

/** Bits of `flags`. */
export const RecordFlag = {
  /** Has a state key. */
  state: 1,
  /** The content hash failed: the body stands for its redacted form. */
  redacted: 2,
  /** Content has more that auth rules may ask for than `membership`: read the body. */
  richContent: 4,
  /** In room versions whose IDs are not url-safe hashes: the ID stands in opaque_event_id_by_nid. */
  opaqueId: 8,
} as const;

const MEMBER_TYPE = 'm.room.member';
const MEMBERSHIPS = ['', 'join', 'invite', 'leave', 'ban', 'knock'] as const;
export type Membership = (typeof MEMBERSHIPS)[number];
const JOIN = MEMBERSHIPS.indexOf('join');

export interface EventRecord {
  readonly roomNid: RoomNid;
  readonly bodyBytes: number;
  readonly depth: number;
  readonly originServerTs: number;
  readonly flags: number;
  /** Empty for all but `m.room.member` with one of the five memberships. */
  readonly membership: Membership;
  readonly type: string;
  readonly stateKey: string | undefined;
  readonly sender: UserId;
  /** 32 bytes. */
  readonly eventKey: Buffer;
  readonly authNids: readonly EventNid[];
}

/** Number that stands for a membership in a record; 0 for any other value. */
export function membershipCode(membership: unknown): number {
  const code = MEMBERSHIPS.indexOf(membership as Membership);
  return code < 0 ? 0 : code;
}

export interface RecordDraft {
  readonly bodyBytes: number;
  readonly depth: number;
  readonly originServerTs: number;
  readonly flags: number;
  readonly membership: unknown;
  readonly type: string;
  readonly stateKey: string | undefined;
  readonly sender: string;
  readonly eventKey: Uint8Array;
  readonly authCount: number;
}

/** Most bytes a record of these strings can take. */
export function recordBytesMax(draft: RecordDraft): number {
  return (
    RECORD_HEADER_BYTES +
    4 * draft.authCount +
    3 * (draft.type.length + (draft.stateKey?.length ?? 0) + draft.sender.length)
  );
}

/** Writes a record with room NID and auth NIDs still 0 at `at`; returns its length in bytes. */
export function writeRecord(target: Buffer, at: number, draft: RecordDraft): number {
  const strings = at + RECORD_HEADER_BYTES + 4 * draft.authCount;
  const typeBytes = target.write(draft.type, strings, 'utf8');
  const stateKeyBytes = draft.stateKey === undefined ? 0 : target.write(draft.stateKey, strings + typeBytes, 'utf8');
  const senderBytes = target.write(draft.sender, strings + typeBytes + stateKeyBytes, 'utf8');
  target.writeUInt32LE(0, at);
  target.writeUInt32LE(draft.bodyBytes, at + 4);
  target.writeDoubleLE(draft.depth, at + DEPTH);
  target.writeDoubleLE(draft.originServerTs, at + TIMESTAMP);
  target[at + FLAGS] = draft.flags;
  target[at + MEMBERSHIP] = membershipCode(draft.membership);
  target[at + AUTH_COUNT] = draft.authCount;
  target[at + AUTH_COUNT + 1] = 0;
  target.writeUInt16LE(typeBytes, at + TYPE_BYTES);
  target.writeUInt16LE(stateKeyBytes, at + STATE_KEY_BYTES);
  target.writeUInt16LE(senderBytes, at + SENDER_BYTES);
  target.writeUInt16LE(0, at + SENDER_BYTES + 2);
  target.set(draft.eventKey, at + RECORD_KEY_AT);
  target.fill(0, at + RECORD_HEADER_BYTES, strings);
  return strings + typeBytes + stateKeyBytes + senderBytes - at;
}

/** Bytes that the record of a scanned event takes. */
export function scannedRecordBytes(scan: PduScan): number {
  const { starts, ends } = scan;
  const stateKeyBytes = scan.has(M.state_key) ? (ends[M.state_key] as number) - (starts[M.state_key] as number) - 2 : 0;
  const typeBytes = (ends[M.type] as number) - (starts[M.type] as number) - 2;
  const senderBytes = (ends[M.sender] as number) - (starts[M.sender] as number) - 2;
  return RECORD_HEADER_BYTES + 4 * scan.authCount + typeBytes + stateKeyBytes + senderBytes;
}

/** writeRecord for an event that was verified from its bytes, with room for scannedRecordBytes. */
export function writeScannedRecord(
  target: Buffer,
  at: number,
  bytes: Uint8Array,
  { scan, eventKey, membershipCode }: PduBytesVerifier,
  bodyBytes: number,
): void {
  const strings = at + RECORD_HEADER_BYTES + 4 * scan.authCount;
  const isState = scan.has(M.state_key);
  const typeEnd = copyString(target, strings, bytes, scan, M.type);
  const stateKeyEnd = isState ? copyString(target, typeEnd, bytes, scan, M.state_key) : typeEnd;
  const senderEnd = copyString(target, stateKeyEnd, bytes, scan, M.sender);
  target.fill(0, at, strings);
  target.writeUInt32LE(bodyBytes, at + 4);
  target.writeDoubleLE(scan.depth, at + DEPTH);
  target.writeDoubleLE(scan.originServerTs, at + TIMESTAMP);
  target[at + FLAGS] = (isState ? RecordFlag.state : 0) | (membershipCode === 0 ? RecordFlag.richContent : 0);
  target[at + MEMBERSHIP] = membershipCode;
  target[at + AUTH_COUNT] = scan.authCount;
  target.writeUInt16LE(typeEnd - strings, at + TYPE_BYTES);
  target.writeUInt16LE(stateKeyEnd - typeEnd, at + STATE_KEY_BYTES);
  target.writeUInt16LE(senderEnd - stateKeyEnd, at + SENDER_BYTES);
  for (let i = 0; i < EVENT_KEY_BYTES; i++) target[at + RECORD_KEY_AT + i] = eventKey[i] as number;
}

/** Copies a string member without its quotes; returns where it ends. */
function copyString(target: Buffer, at: number, bytes: Uint8Array, scan: PduScan, member: number): number {
  const end = (scan.ends[member] as number) - 1;
  let to = at;
  for (let i = (scan.starts[member] as number) + 1; i < end; i++) target[to++] = bytes[i] as number;
  return to;
}

/** Fills in what the worker could not know. `authNids[i]` in the order of the event's auth_events. */
export function fillRecordNids(record: Buffer, at: number, roomNid: RoomNid, authNids: readonly EventNid[]): void {
  record.writeUInt32LE(roomNid, at);
  for (let i = 0; i < authNids.length; i++)
    record.writeUInt32LE(authNids[i] as number, at + RECORD_HEADER_BYTES + 4 * i);
}

/** Decodes a record; the buffer may be reused afterwards. */
export function readRecord(bytes: Buffer): EventRecord {
  const flags = bytes[FLAGS] as number;
  const authCount = bytes[AUTH_COUNT] as number;
  const authNids: EventNid[] = new Array(authCount);
  for (let i = 0; i < authCount; i++) authNids[i] = bytes.readUInt32LE(RECORD_HEADER_BYTES + 4 * i) as EventNid;
  const typeStart = RECORD_HEADER_BYTES + 4 * authCount;
  const stateKeyStart = typeStart + bytes.readUInt16LE(TYPE_BYTES);
  const senderStart = stateKeyStart + bytes.readUInt16LE(STATE_KEY_BYTES);
  const end = senderStart + bytes.readUInt16LE(SENDER_BYTES);
  return {
    roomNid: bytes.readUInt32LE(0) as RoomNid,
    bodyBytes: bytes.readUInt32LE(4),
    depth: bytes.readDoubleLE(DEPTH),
    originServerTs: bytes.readDoubleLE(TIMESTAMP),
    flags,
    membership: MEMBERSHIPS[bytes[MEMBERSHIP] as number] ?? '',
    type: bytes.toString('utf8', typeStart, stateKeyStart),
    stateKey: (flags & RecordFlag.state) === 0 ? undefined : bytes.toString('utf8', stateKeyStart, senderStart),
    sender: bytes.toString('utf8', senderStart, end) as UserId,
    eventKey: Buffer.from(bytes.subarray(RECORD_KEY_AT, RECORD_KEY_AT + 32)),
    authNids,
  };
}

/** Type and state key straight from a record's bytes; undefined for what is not a state event. */
export function recordStateKey(bytes: Buffer): readonly [type: string, stateKey: string] | undefined {
  if (((bytes[FLAGS] as number) & RecordFlag.state) === 0) return undefined;
  const typeStart = RECORD_HEADER_BYTES + 4 * (bytes[AUTH_COUNT] as number);
  const stateKeyStart = typeStart + u16(bytes, TYPE_BYTES);
  const end = stateKeyStart + u16(bytes, STATE_KEY_BYTES);
  const type = (bytes[MEMBERSHIP] as number) > 0 ? MEMBER_TYPE : bytes.toString('utf8', typeStart, stateKeyStart);
  return [type, bytes.toString('utf8', stateKeyStart, end)];
}

/** What the auth rules ask of an ordinary membership, see readPlainMembership. */
export interface PlainMembership {
  readonly roomNid: RoomNid;
  readonly membership: Membership;
  readonly sender: UserId;
  readonly stateKey: string;
}

/** The quick reading of an ordinary membership's record; undefined for every event with content of its own to look at. */
export function readPlainMembership(bytes: Buffer): PlainMembership | undefined {
  const flags = bytes[FLAGS] as number;
  const membership = MEMBERSHIPS[bytes[MEMBERSHIP] as number] ?? '';
  if ((flags & RecordFlag.richContent) !== 0 || (flags & RecordFlag.state) === 0 || membership === '') return undefined;
  const stateKeyStart = RECORD_HEADER_BYTES + 4 * (bytes[AUTH_COUNT] as number) + u16(bytes, TYPE_BYTES);
  const senderStart = stateKeyStart + u16(bytes, STATE_KEY_BYTES);
  const end = senderStart + u16(bytes, SENDER_BYTES);
  const sender = bytes.toString('utf8', senderStart, end) as UserId;
  const stateKey = isRepeated(bytes, stateKeyStart, senderStart, end)
    ? sender
    : bytes.toString('utf8', stateKeyStart, senderStart);
  return { roomNid: recordRoomNid(bytes), membership, sender, stateKey };
}

function u16(bytes: Uint8Array, at: number): number {
  return (bytes[at] as number) | ((bytes[at + 1] as number) << 8);
}

/** Whether bytes[start .. middle] come again from middle to end. */
function isRepeated(bytes: Uint8Array, start: number, middle: number, end: number): boolean {
  if (middle - start !== end - middle) return false;
  for (let i = 0; i < middle - start; i++) if (bytes[start + i] !== bytes[middle + i]) return false;
  return true;
}

/** The room straight from a record's bytes. */
export function recordRoomNid(bytes: Buffer): RoomNid {
  return bytes.readUInt32LE(0) as RoomNid;
}

/** Auth NIDs straight from a record's bytes. */
export function recordAuthNids(bytes: Buffer): number[] {
  const count = bytes[AUTH_COUNT] as number;
  const nids: number[] = new Array(count);
  for (let i = 0; i < count; i++) nids[i] = bytes.readUInt32LE(RECORD_HEADER_BYTES + 4 * i);
  return nids;
}

/** Length of the stored body, straight from a record's bytes. */
export function recordBodyBytes(bytes: Buffer): number {
  return bytes.readUInt32LE(4);
}

/** Whether the content hash failed, straight from a record's bytes. */
export function recordIsRedacted(bytes: Buffer): boolean {
  return ((bytes[FLAGS] as number) & RecordFlag.redacted) !== 0;
}

/** The membership's code, straight from a record's bytes; 0 for all but `m.room.member`. */
export function recordMembershipCode(bytes: Buffer): number {
  return bytes[MEMBERSHIP] as number;
}

/** Whether it is the record of a join. */
export function isJoinRecord(bytes: Buffer): boolean {
  return bytes[MEMBERSHIP] === JOIN;
}

/** A bit for the code of each membership that `wanted` lets through; never that of events of other types. */
export function membershipBits(wanted: (membership: Membership) => boolean): number {
  return MEMBERSHIPS.reduce(
    (bits, membership, code) => (code > 0 && wanted(membership) ? bits | (1 << code) : bits),
    0,
  );
}

/** The event key, straight from a record's bytes, in a buffer of its own. */
export function recordEventKey(bytes: Buffer): Uint8Array {
  return new Uint8Array(bytes.subarray(RECORD_KEY_AT, RECORD_KEY_AT + 32));
}

/** Whether the stored body is what is shown and its key is its ID's hash, as far as the record knows. */
export function isSliceable(bytes: Buffer): boolean {
  return ((bytes[FLAGS] as number) & (RecordFlag.redacted | RecordFlag.opaqueId)) === 0;
}
