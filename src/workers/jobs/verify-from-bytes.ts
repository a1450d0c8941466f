/** The quick way to verify one PDU of a batch: from its bytes. Most events of most servers are good and ordinary. */

import { EVENT_KEY_BYTES } from '../../kernel/matrix/event-key.js';
import { writeHashEventKey } from '../../kernel/pdu-bytes/hash-event-id.js';
import { EVENT_ID_STRIDE, MemberNumber } from '../../kernel/pdu-bytes/scan-pdu.js';
import type { PduBytesVerifier } from '../../kernel/pdu-bytes/verify-pdu-bytes.js';
import {
  RECORD_AUTH_EVENTS_MAX,
  RECORD_HEADER_BYTES,
  scannedRecordBytes,
  writeScannedRecord,
} from '../../store/event-record.js';
import { positionOf } from '../event-index.js';
import type { VerifiedBatch } from './verified-batch.js';

const authKey = Buffer.alloc(EVENT_KEY_BYTES);

/** Takes over PDU i, which `verifier` has just found good; false when it has more auth events than a record holds. */
export function takeVerified(batch: VerifiedBatch, i: number, verifier: PduBytesVerifier): boolean {
  const { scan } = verifier;
  if (scan.authCount > RECORD_AUTH_EVENTS_MAX) return false;
  if (verifier.isStored) {
    batch.know(i, verifier.eventKey);
    return true;
  }
  batch.setEventKey(i, verifier.eventKey);
  batch.signaturesVerified += 1;
  const { records, authKeys, bytes, index } = batch;
  const bodyBytes = batch.end(i) - batch.start(i) - scan.unsignedBytes;
  const record = records.reserve(scannedRecordBytes(scan));
  writeScannedRecord(record, records.length, bytes, verifier, bodyBytes);
  const authNids = records.length + RECORD_HEADER_BYTES;
  records.length += scannedRecordBytes(scan);
  const ids = (scan.starts[MemberNumber.auth_events] as number) + 2;
  if (index === undefined) {
    const target = authKeys.reserve(scan.authCount * EVENT_KEY_BYTES);
    for (let n = 0; n < scan.authCount; n++) {
      writeHashEventKey(bytes, ids + n * EVENT_ID_STRIDE, target, authKeys.length);
      authKeys.length += EVENT_KEY_BYTES;
    }
  } else {
    for (let n = 0; n < scan.authCount; n++) {
      writeHashEventKey(bytes, ids + n * EVENT_ID_STRIDE, authKey, 0);
      const position = positionOf(index, authKey, 0);
      // What the index does not list stays NID 0: the event is judged as one whose auth event is missing.
      if (position >= 0) record.writeUInt32LE(index.nids[position] as number, authNids + 4 * n);
    }
  }
  if (scan.unsignedBytes > 0) {
    bytes.copyWithin(scan.unsignedStart, scan.unsignedStart + scan.unsignedBytes, batch.end(i));
  }
  batch.lengths[i] = bodyBytes;
  return true;
}
