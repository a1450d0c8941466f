/**
 * A thread that verifies the signatures of a range of the resident's events through sodium-native alone. Everything but
 * the signature check itself is done before the clock starts: reading, parsing, the signed bytes, the keys.
 */

import { parentPort, workerData } from 'node:worker_threads';
import sodium from 'sodium-native';
import type { UserId } from '../../../src/kernel/matrix/ids.js';
import { serverNameOf } from '../../../src/kernel/matrix/ids.js';
import type { JsonObject } from '../../../src/kernel/matrix/json.js';
import { roomVersionRules } from '../../../src/kernel/matrix/room-versions.js';
import { pduForms } from '../../../src/kernel/signatures/hash-pdu.js';
import { loadBody } from '../../../src/store/events.js';
import type { EventNid } from '../../../src/store/nids.js';
import { openStoreReader } from '../../../src/store/open-store.js';
import { keyRing } from '../room/plan/names.js';
import { DEAD_SUFFIX } from '../room/plan/room-shape.js';

export interface VerifyOnlyRange {
  readonly storePath: string;
  readonly seed: string;
  readonly roomVersion: string;
  readonly firstNid: number;
  readonly count: number;
}

/** After preparing (`verified` 0), and after each round. */
export interface VerifyOnlyAnswer {
  readonly signatures: number;
  readonly verified: number;
}

interface Prepared {
  readonly message: Buffer;
  readonly signature: Buffer;
  readonly publicKey: Buffer;
}

async function prepare(range: VerifyOnlyRange): Promise<Prepared[]> {
  const rules = roomVersionRules(range.roomVersion);
  if (rules === undefined) throw new Error(`room version ${range.roomVersion} is unknown`);
  const keyOf = keyRing(range.seed);
  const reader = openStoreReader(range.storePath);
  const prepared: Prepared[] = [];
  for (let nid = range.firstNid; nid < range.firstNid + range.count; nid++) {
    const json = JSON.parse(loadBody(reader, nid as EventNid)?.toString('utf8') ?? '{}') as JsonObject;
    const server = serverNameOf(json.sender as UserId);
    if (server.endsWith(`.${DEAD_SUFFIX}`)) continue;
    const { keyId, publicKey } = keyOf(server);
    const signature = ((json.signatures as JsonObject)[server] as JsonObject)[keyId] as string;
    prepared.push({
      message: Buffer.from(pduForms(rules, json).signedText, 'utf8'),
      signature: Buffer.from(signature, 'base64'),
      publicKey,
    });
  }
  await reader.close();
  return prepared;
}

const port = parentPort;
if (port === null) throw new Error('verify-only-thread.ts runs in a worker thread');
const prepared = await prepare(workerData as VerifyOnlyRange);
port.on('message', () => {
  let verified = 0;
  for (const { message, signature, publicKey } of prepared) {
    if (sodium.crypto_sign_verify_detached(signature, message, publicKey)) verified += 1;
  }
  port.postMessage({ signatures: prepared.length, verified } satisfies VerifyOnlyAnswer);
});
port.postMessage({ signatures: prepared.length, verified: 0 } satisfies VerifyOnlyAnswer);
