/**
 * Job: verifies a batch of PDUs and writes their compact records, so that the main thread neither parses nor hashes.
 *
 * In: bytes. Out: the same bytes (each PDU without `unsigned`, at its old offset), one outcome a PDU, keys, records. Keys
 * of other servers are read from the store; those that are not there are named, the PDU is left undecided, and the
 * caller comes again. Specification v1.19, server-server API, "Checks performed on receipt of a PDU", steps 1 to 3.
 */

import { isAscii, isUtf8 } from 'node:buffer';
import { EVENT_KEY_BYTES, eventKeyOf } from '../../kernel/matrix/event-key.js';
import type { EventId, RoomId } from '../../kernel/matrix/ids.js';
import type { Pdu } from '../../kernel/matrix/parse-pdu.js';
import { parsePdu } from '../../kernel/matrix/parse-pdu.js';
import { redactContent } from '../../kernel/matrix/redact.js';
import type { RoomVersionRules } from '../../kernel/matrix/room-versions.js';
import type { KeyLookup, KeyNeed, PduVerification } from '../../kernel/signatures/verify-pdu.js';
import { verifyPdu } from '../../kernel/signatures/verify-pdu.js';
import {
  membershipCode,
  RECORD_AUTH_EVENTS_MAX,
  RECORD_HEADER_BYTES,
  RecordFlag,
  recordBytesMax,
  writeRecord,
} from '../../store/event-record.js';
import type { SharedEventIndex } from '../event-index.js';
import { positionOf } from '../event-index.js';
import type { PduBatch } from '../pdu-batch.js';
import type { WorkerContext } from '../worker-context.js';

/** What became of a PDU. */
export const Outcome = { verified: 0, missingKeys: 1, dropped: 2 } as const;

export interface VerifyPdusInput {
  readonly roomVersion: string;
  readonly roomId: RoomId;
  readonly batch: PduBatch;
  /** State and auth chains: what is not a state event is dropped. */
  readonly stateOnly: boolean;
  /** The limits on prev_events and auth_events apply. */
  readonly pushed: boolean;
  /** Keys that are missing now will not come: drop what needs them. */
  readonly final: boolean;
  /** With it, NIDs are filled in; without it, the keys of auth events come back. */
  readonly index: SharedEventIndex | undefined;
}

export interface PduRefusal {
  /** Number of the PDU in the batch. */
  readonly number: number;
  readonly eventId: EventId | undefined;
  readonly code: string;
  readonly reason: string;
}

export interface VerifyPdusOutput {
  readonly bytes: Uint8Array<ArrayBuffer>;
  readonly offsets: Uint32Array<ArrayBuffer>;
  /** Stored length of PDU i, from its offset. */
  readonly lengths: Uint32Array<ArrayBuffer>;
  readonly outcomes: Uint8Array<ArrayBuffer>;
  /** 32 bytes a PDU. */
  readonly eventKeys: Uint8Array<ArrayBuffer>;
  /** Position in the index, or -1; without an index always -1. */
  readonly positions: Int32Array<ArrayBuffer>;
  readonly records: Uint8Array<ArrayBuffer>;
  /** Record i is records[recordOffsets[i] .. recordOffsets[i + 1]]; empty unless verified. */
  readonly recordOffsets: Uint32Array<ArrayBuffer>;
  /** Keys of the auth events of PDU i, 32 bytes each, in authKeys from authOffsets[i] to authOffsets[i + 1] (in keys). */
  readonly authKeys: Uint8Array<ArrayBuffer>;
  readonly authOffsets: Uint32Array<ArrayBuffer>;
  readonly needs: readonly KeyNeed[];
  readonly refusals: readonly PduRefusal[];
  /** PDUs whose content hash failed. */
  readonly redacted: readonly PduRefusal[];
  /** IDs that their keys do not spell (room versions 1 to 3), by number. */
  readonly opaqueIds: readonly (readonly [number, EventId])[];
  readonly signaturesVerified: number;
}

/** Text of one PDU, or undefined when it is not UTF-8. */
function textOf(pdu: Buffer): string | undefined {
  if (isAscii(pdu)) return pdu.toString('latin1');
  return isUtf8(pdu) ? pdu.toString('utf8') : undefined;
}

/** Grows as records and auth keys are added. */
class Appender {
  #bytes: Buffer<ArrayBuffer>;
  length = 0;

  constructor(capacity: number) {
    this.#bytes = Buffer.from(new ArrayBuffer(capacity));
  }

  reserve(bytes: number): Buffer<ArrayBuffer> {
    if (this.length + bytes > this.#bytes.length) {
      const larger = Buffer.from(new ArrayBuffer(Math.max(this.#bytes.length * 2, this.length + bytes)));
      larger.set(this.#bytes.subarray(0, this.length));
      this.#bytes = larger;
    }
    return this.#bytes;
  }

  taken(): Uint8Array<ArrayBuffer> {
    return new Uint8Array(this.#bytes.buffer, this.#bytes.byteOffset, this.length);
  }
}

/** Typical bytes of a record, for the first guess at the buffer. */
const RECORD_BYTES_GUESS = 224;

export function verifyPdus(input: VerifyPdusInput, context: WorkerContext): VerifyPdusOutput {
  const { batch, index } = input;
  const rules = context.rulesOf(input.roomVersion);
  const count = batch.offsets.length - 1;
  const bytes = Buffer.from(batch.bytes.buffer, batch.bytes.byteOffset, batch.bytes.length);
  const lengths = new Uint32Array(count);
  const outcomes = new Uint8Array(count);
  const eventKeys = new Uint8Array(count * EVENT_KEY_BYTES);
  const positions = new Int32Array(count).fill(-1);
  const records = new Appender(count * RECORD_BYTES_GUESS);
  const recordOffsets = new Uint32Array(count + 1);
  const authKeys = new Appender(index === undefined ? count * 4 * EVENT_KEY_BYTES : 0);
  const authOffsets = new Uint32Array(count + 1);
  const needs: KeyNeed[] = [];
  const refusals: PduRefusal[] = [];
  const redacted: PduRefusal[] = [];
  const opaqueIds: (readonly [number, EventId])[] = [];
  let signaturesVerified = 0;
  const seenAuthNids = new Map<EventId, number>();

  // Keys were fetched since the batch was here: cached ones may have lapsed.
  if (input.final) context.forgetKeys();
  const keys: KeyLookup = (server, keyId) => context.serverKey(server, keyId);
  for (let i = 0; i < count; i++) {
    recordOffsets[i + 1] = records.length;
    authOffsets[i + 1] = authKeys.length / EVENT_KEY_BYTES;
    const start = batch.offsets[i] as number;
    const end = batch.offsets[i + 1] as number;
    lengths[i] = end - start;
    const drop = (eventId: EventId | undefined, code: string, reason: string) => {
      outcomes[i] = Outcome.dropped;
      refusals.push({ number: i, eventId, code, reason });
    };
    const text = textOf(bytes.subarray(start, end));
    if (text === undefined) {
      drop(undefined, 'not-utf-8', 'not UTF-8');
      continue;
    }
    const parsed = parsePdu(rules, text, { pushed: input.pushed });
    if (!parsed.ok) {
      drop(undefined, parsed.code, parsed.reason);
      continue;
    }
    const { pdu } = parsed;
    const verification = verifyPdu(rules, pdu, keys);
    if (verification.eventKey !== undefined) {
      eventKeys.set(verification.eventKey, i * EVENT_KEY_BYTES);
      if (index !== undefined) positions[i] = positionOf(index, eventKeys, i * EVENT_KEY_BYTES);
    }
    if (verification.outcome === 'dropped') {
      drop(verification.eventId, verification.code, verification.reason);
      continue;
    }
    const misplaced = misplacedReason(input, rules, pdu, verification);
    if (misplaced !== undefined) {
      drop(verification.eventId, misplaced[0], misplaced[1]);
      continue;
    }
    if (verification.outcome === 'missing-keys') {
      if (input.final) {
        const names = verification.needs.map((need) => `${need.keyId} of ${need.server}`).join(', ');
        drop(verification.eventId, 'no-key', `no key: ${names}`);
      } else {
        outcomes[i] = Outcome.missingKeys;
        needs.push(...verification.needs);
      }
      continue;
    }
    signaturesVerified += 1;
    if (verification.redacted) {
      redacted.push({
        number: i,
        eventId: verification.eventId,
        code: 'content-hash-mismatch',
        reason: 'the content does not match its hash: only the redacted form counts',
      });
    }
    const opaque = rules.eventIdForm !== 'base64url';
    if (opaque) opaqueIds.push([i, verification.eventId]);
    if (pdu.text !== text) lengths[i] = bytes.write(pdu.text, start, 'utf8');
    const draft = draftOf(rules, pdu, lengths[i] as number, verification, opaque);
    const target = records.reserve(recordBytesMax(draft));
    const recordStart = records.length;
    records.length += writeRecord(target, recordStart, draft);
    recordOffsets[i + 1] = records.length;
    if (index === undefined) {
      const keyTarget = authKeys.reserve(pdu.authEventIds.length * EVENT_KEY_BYTES);
      for (const id of pdu.authEventIds) {
        keyTarget.set(eventKeyOf(id), authKeys.length);
        authKeys.length += EVENT_KEY_BYTES;
      }
      authOffsets[i + 1] = authKeys.length / EVENT_KEY_BYTES;
    } else {
      fillAuthNids(index, pdu.authEventIds, target, recordStart + RECORD_HEADER_BYTES, seenAuthNids);
    }
  }
  return {
    bytes: batch.bytes,
    offsets: batch.offsets,
    lengths,
    outcomes,
    eventKeys,
    positions,
    records: records.taken(),
    recordOffsets,
    authKeys: authKeys.taken(),
    authOffsets,
    needs,
    refusals,
    redacted,
    opaqueIds,
    signaturesVerified,
  };
}

/**
 * An auth event that the index does not list stays NID 0: the event is judged as one whose auth event is missing. `seen`:
 * NIDs of this batch's auth events so far, since most rest on the same create event, power levels and join rules.
 */
function fillAuthNids(
  index: SharedEventIndex,
  ids: readonly EventId[],
  record: Buffer,
  at: number,
  seen: Map<EventId, number>,
): void {
  for (let i = 0; i < ids.length; i++) {
    const id = ids[i] as EventId;
    let nid = seen.get(id);
    if (nid === undefined) {
      const position = positionOf(index, eventKeyOf(id), 0);
      nid = position < 0 ? 0 : (index.nids[position] as number);
      seen.set(id, nid);
    }
    record.writeUInt32LE(nid, at + 4 * i);
  }
}

function misplacedReason(
  input: VerifyPdusInput,
  rules: RoomVersionRules,
  pdu: Pdu,
  verification: PduVerification,
): readonly [code: string, reason: string] | undefined {
  if (pdu.authEventIds.length > RECORD_AUTH_EVENTS_MAX) {
    return ['too-many-auth-events', `${pdu.authEventIds.length} auth_events, more than ${RECORD_AUTH_EVENTS_MAX}`];
  }
  if (input.stateOnly && pdu.stateKey === undefined) return ['not-a-state-event', `${pdu.type} has no state_key`];
  const roomId = pdu.roomId ?? (rules.roomIdIsCreateEventHash ? `!${verification.eventId?.slice(1)}` : undefined);
  if (roomId !== input.roomId) return ['wrong-room', `belongs to room ${roomId}`];
  return undefined;
}

function draftOf(
  rules: RoomVersionRules,
  pdu: Pdu,
  bodyBytes: number,
  verification: PduVerification & { outcome: 'verified' },
  opaque: boolean,
) {
  const content = verification.redacted ? redactContent(rules.redaction, pdu.type, pdu.content) : pdu.content;
  const isMember = pdu.type === 'm.room.member';
  const plain =
    isMember &&
    membershipCode(content.membership) !== 0 &&
    content.join_authorised_via_users_server === undefined &&
    content.third_party_invite === undefined;
  const flags =
    (pdu.stateKey === undefined ? 0 : RecordFlag.state) |
    (verification.redacted ? RecordFlag.redacted : 0) |
    (plain ? 0 : RecordFlag.richContent) |
    (opaque ? RecordFlag.opaqueId : 0);
  return {
    bodyBytes,
    depth: pdu.depth,
    originServerTs: pdu.originServerTs,
    flags,
    membership: isMember ? content.membership : undefined,
    type: pdu.type,
    stateKey: pdu.stateKey,
    sender: pdu.sender,
    eventKey: verification.eventKey,
    authCount: pdu.authEventIds.length,
  };
}
