/** The thorough way to verify one PDU of a batch: parsed, and with a reason for whatever is wrong with it. */

import { isAscii, isUtf8 } from 'node:buffer';
import { EVENT_KEY_BYTES, eventKeyOf } from '../../kernel/matrix/event-key.js';
import type { EventId, RoomId } from '../../kernel/matrix/ids.js';
import type { Pdu } from '../../kernel/matrix/parse-pdu.js';
import { parsePdu } from '../../kernel/matrix/parse-pdu.js';
import { redactContent } from '../../kernel/matrix/redact.js';
import type { RoomVersionRules } from '../../kernel/matrix/room-versions.js';
import type { KeyLookup, KeyNeed, PduVerification } from '../../kernel/signatures/verify-pdu.js';
import { verifyPdu } from '../../kernel/signatures/verify-pdu.js';
import type { RecordDraft } from '../../store/event-record.js';
import {
  membershipCode,
  RECORD_AUTH_EVENTS_MAX,
  RECORD_HEADER_BYTES,
  RecordFlag,
  recordBytesMax,
  writeRecord,
} from '../../store/event-record.js';
import { positionOf } from '../event-index.js';
import type { IsStored } from './stored-already.js';
import type { VerifiedBatch } from './verified-batch.js';

/** What is asked of every PDU of a batch. */
export interface Demands {
  readonly roomId: RoomId;
  /** State and auth chains: what is not a state event is dropped. */
  readonly stateOnly: boolean;
  /** The limits on prev_events and auth_events apply. */
  readonly pushed: boolean;
  /** Undefined the first time. Then the keys that were missing and have been asked for: what still lacks one is dropped. */
  readonly fetched: readonly KeyNeed[] | undefined;
}

/** Text of one PDU, or undefined when it is not UTF-8. */
function textOf(pdu: Buffer): string | undefined {
  if (isAscii(pdu)) return pdu.toString('latin1');
  return isUtf8(pdu) ? pdu.toString('utf8') : undefined;
}

/** Why a PDU is dropped. */
type Refusal = readonly [eventId: EventId | undefined, code: string, reason: string];

/** Verifies PDU i and writes what became of it. */
export function verifyByParsing(
  batch: VerifiedBatch,
  i: number,
  rules: RoomVersionRules,
  demands: Demands,
  keys: KeyLookup,
  isStored: IsStored,
): void {
  const refusal = verifyParsed(batch, i, rules, demands, keys, isStored);
  if (refusal !== undefined) batch.drop(i, ...refusal);
}

function verifyParsed(
  batch: VerifiedBatch,
  i: number,
  rules: RoomVersionRules,
  demands: Demands,
  keys: KeyLookup,
  isStored: IsStored,
): Refusal | undefined {
  const { bytes } = batch;
  const start = batch.start(i);
  batch.lengths[i] = batch.end(i) - start;
  const text = textOf(bytes.subarray(start, batch.end(i)));
  if (text === undefined) return [undefined, 'not-utf-8', 'not UTF-8'];
  const parsed = parsePdu(rules, text, { pushed: demands.pushed });
  if (!parsed.ok) return [undefined, parsed.code, parsed.reason];
  const { pdu } = parsed;
  // IDs of the first versions are no hashes: another event may have one that is taken.
  const verification = verifyPdu(rules, pdu, keys, rules.eventIdForm === 'domain' ? undefined : isStored);
  const { eventId } = verification;
  if (verification.eventKey !== undefined) batch.setEventKey(i, verification.eventKey);
  if (verification.outcome === 'dropped') return [eventId, verification.code, verification.reason];
  const misplaced = misplacedReason(demands, rules, pdu, verification);
  if (misplaced !== undefined) return [eventId, ...misplaced];
  if (verification.outcome === 'stored') {
    batch.know(i, verification.eventKey);
    return undefined;
  }
  if (verification.outcome === 'missing-keys') {
    if (demands.fetched !== undefined) {
      const names = verification.needs.map((need) => `${need.keyId} of ${need.server}`).join(', ');
      return [eventId, 'no-key', `no key: ${names}`];
    }
    batch.lack(i, verification.needs);
    return undefined;
  }
  batch.signaturesVerified += 1;
  if (verification.redacted) {
    batch.redacted.push({
      number: i,
      eventId: verification.eventId,
      code: 'content-hash-mismatch',
      reason: 'the content does not match its hash: only the redacted form counts',
    });
  }
  const opaque = rules.eventIdForm !== 'base64url';
  if (opaque) batch.opaqueIds.push([i, verification.eventId]);
  if (pdu.text !== text) batch.lengths[i] = bytes.write(pdu.text, start, 'utf8');
  writeParsed(batch, pdu, draftOf(rules, pdu, batch.lengths[i] as number, verification, opaque));
  return undefined;
}

/** Appends the record, and the auth events' NIDs or keys. */
function writeParsed(batch: VerifiedBatch, pdu: Pdu, draft: RecordDraft): void {
  const { records, authKeys, index } = batch;
  const record = records.reserve(recordBytesMax(draft));
  const authNids = records.length + RECORD_HEADER_BYTES;
  records.length += writeRecord(record, records.length, draft);
  if (index === undefined) {
    const target = authKeys.reserve(pdu.authEventIds.length * EVENT_KEY_BYTES);
    for (const id of pdu.authEventIds) {
      target.set(eventKeyOf(id), authKeys.length);
      authKeys.length += EVENT_KEY_BYTES;
    }
    return;
  }
  for (const [n, id] of pdu.authEventIds.entries()) {
    const position = positionOf(index, eventKeyOf(id), 0);
    // What the index does not list stays NID 0: the event is judged as one whose auth event is missing.
    if (position >= 0) record.writeUInt32LE(index.nids[position] as number, authNids + 4 * n);
  }
}

function misplacedReason(
  demands: Demands,
  rules: RoomVersionRules,
  pdu: Pdu,
  verification: PduVerification,
): readonly [code: string, reason: string] | undefined {
  if (pdu.authEventIds.length > RECORD_AUTH_EVENTS_MAX) {
    return ['too-many-auth-events', `${pdu.authEventIds.length} auth_events, more than ${RECORD_AUTH_EVENTS_MAX}`];
  }
  if (demands.stateOnly && pdu.stateKey === undefined) return ['not-a-state-event', `${pdu.type} has no state_key`];
  const roomId = pdu.roomId ?? (rules.roomIdIsCreateEventHash ? `!${verification.eventId?.slice(1)}` : undefined);
  if (roomId !== demands.roomId) return ['wrong-room', `belongs to room ${roomId}`];
  return undefined;
}

function draftOf(
  rules: RoomVersionRules,
  pdu: Pdu,
  bodyBytes: number,
  verification: PduVerification & { outcome: 'verified' },
  opaque: boolean,
): RecordDraft {
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
