/**
 * Job: verifies a batch of PDUs and writes their compact records, so that the main thread neither parses nor hashes.
 *
 * In: bytes. Out: the same bytes (each PDU without `unsigned`, at its old offset), one outcome a PDU, keys, records. Keys
 * of other servers are read from the store; those that are not there are named, the PDU is left undecided, and the
 * caller comes again. Specification v1.19, server-server API, "Checks performed on receipt of a PDU", steps 1 to 3.
 */

import { MemberNumber } from '../../kernel/pdu-bytes/scan-pdu.js';
import type { KeyLookup } from '../../kernel/signatures/verify-pdu.js';
import type { SharedEventIndex } from '../event-index.js';
import type { PduBatch } from '../pdu-batch.js';
import type { WorkerContext } from '../worker-context.js';
import { storedAlready } from './stored-already.js';
import type { VerifyPdusOutput } from './verified-batch.js';
import { VerifiedBatch } from './verified-batch.js';
import type { Demands } from './verify-by-parsing.js';
import { verifyByParsing } from './verify-by-parsing.js';
import { takeVerified } from './verify-from-bytes.js';

export interface VerifyPdusInput extends Demands {
  readonly roomVersion: string;
  readonly batch: PduBatch;
  /** With it, NIDs are filled in; without it, the keys of auth events come back. */
  readonly index: SharedEventIndex | undefined;
  /** A stored event whose content hash failed does not count as stored: this copy may be whole. */
  readonly replaceRedacted?: boolean;
}

export function verifyPdus(input: VerifyPdusInput, context: WorkerContext): VerifyPdusOutput {
  const rules = context.rulesOf(input.roomVersion);
  const batch = new VerifiedBatch(input.batch, input.index);
  // Cached ones may have lapsed.
  context.forgetKeys(input.fetched ?? []);
  const keys: KeyLookup = (server, keyId) => context.serverKey(server, keyId);
  const verifier = context.bytesVerifier(rules);
  const isStored = storedAlready(context.reader, input.index, input.replaceRedacted === true);
  const options = { roomId: Buffer.from(input.roomId, 'utf8'), pushed: input.pushed };
  for (let i = 0; i < batch.count; i++) {
    const taken =
      verifier?.verify(batch.bytes, batch.start(i), batch.end(i), options, context, isStored) === true &&
      !(input.stateOnly && !verifier.scan.has(MemberNumber.state_key)) &&
      takeVerified(batch, i, verifier);
    // Where a key is missing the first time nothing else is looked at: the PDU comes again, and is then judged.
    const missingKey = taken || input.fetched !== undefined ? undefined : verifier?.missingKey;
    if (missingKey !== undefined) batch.lack(i, [missingKey]);
    else if (!taken) verifyByParsing(batch, i, rules, input, keys, isStored);
    batch.close(i);
  }
  return batch.output();
}
