/**
 * Question: how much of verifying a batch of PDUs is the signature check itself, and how much everything around it (UTF-8,
 * JSON, format checks, hashes, canonical JSON, records)?
 *
 * Workload: one batch of signed member events, every key in the thread's cache. Cannot show: keys that have to be fetched,
 * the way to a worker thread and back, several threads that share one memory bus.
 */

import { parsePdu } from '../src/kernel/matrix/parse-pdu.js';
import { verify } from '../src/kernel/signatures/ed25519.js';
import { hashPdu } from '../src/kernel/signatures/verify-pdu.js';
import { verifyPdus } from '../src/workers/jobs/verify-pdus.js';
import type { PduBatch } from '../src/workers/pdu-batch.js';
import { BATCH_PDUS_MAX, batchOf } from '../src/workers/pdu-batch.js';
import { WorkerContext } from '../src/workers/worker-context.js';
import type { BenchReport, BenchSize } from './measure.js';
import { measure } from './measure.js';
import { signedRoom } from './signed-room.js';
import { storeKeys, withStore } from './stored-room.js';

export async function run(size: BenchSize): Promise<BenchReport> {
  const room = signedRoom((size === 'full' ? BATCH_PDUS_MAX : 16) - 3, 10);
  const messages = room.bodies.map((body, i) => {
    const parsed = parsePdu(room.rules, body.toString('utf8'), { pushed: true });
    const key = room.keys.find(({ serverName }) => parsed.ok && parsed.pdu.sender.endsWith(`:${serverName}`));
    if (!parsed.ok || key === undefined) throw new Error(`event ${i} of the workload is malformed`);
    const signatures = parsed.pdu.json.signatures as Record<string, Record<string, string>>;
    const signature = signatures[key.serverName]?.[key.keyId] as string;
    return { bytes: Buffer.from(hashPdu(room.rules, parsed.pdu).message), signature, publicKey: key.publicKey };
  });
  return withStore(async (store) => {
    storeKeys(store, room.keys);
    const context = new WorkerContext(store);
    const job = (batch: PduBatch) =>
      verifyPdus(
        {
          roomVersion: '11',
          roomId: room.roomId,
          batch,
          stateOnly: true,
          pushed: true,
          fetched: undefined,
          index: undefined,
        },
        context,
      );
    const signaturesAlone = () =>
      messages.every(({ bytes, signature, publicKey }) => verify(bytes, signature, publicKey));
    const output = job(batchOf(room.bodies));
    if (output.signaturesVerified !== room.bodies.length || !signaturesAlone()) throw new Error('a good event failed');
    return measure(`verify ${room.bodies.length} events`, size, room.bodies.length, output.records, [
      { name: 'ed25519 alone', run: signaturesAlone },
      { name: 'whole verifyPdus job', run: () => job(batchOf(room.bodies)).signaturesVerified },
    ]);
  });
}
