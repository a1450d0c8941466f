/**
 * Entry of a thread of `joinery verify`: batches of lines in, lines of JSON out, both as bytes that are moved and not
 * copied. Verdicts on bad lines are values; what is thrown here is a bug and ends the run.
 */

import { parentPort, workerData } from 'node:worker_threads';
import { roomVersionRules } from '../../kernel/matrix/room-versions.js';
import type { KeysByServer } from './inspect-pdu.js';
import { PduInspector } from './inspect-pdu.js';

/** What a thread is started with. */
export interface ThreadData {
  readonly roomVersion: string;
  /** Server name, key ID, 32 bytes, milliseconds since 1970. A Buffer would arrive as a bare Uint8Array. */
  readonly keys: readonly (readonly [string, string, Uint8Array, number])[] | undefined;
}

/** A batch on its way to a thread. */
export interface ThreadTask {
  readonly number: number;
  readonly firstLine: number;
  readonly bytes: Uint8Array<ArrayBuffer>;
  readonly offsets: Uint32Array<ArrayBuffer>;
}

/** A line that holds no PDU. */
export interface BrokenLine {
  readonly line: number;
  readonly code: string;
  readonly reason: string;
}

/** What comes back. */
export interface ThreadAnswer {
  readonly number: number;
  /** The task's buffer, to be used again. */
  readonly bytes: Uint8Array<ArrayBuffer>;
  readonly output: Uint8Array<ArrayBuffer>;
  readonly pdus: number;
  readonly bad: number;
  readonly broken: readonly BrokenLine[];
}

function keysOf(list: NonNullable<ThreadData['keys']>): KeysByServer {
  const keys = new Map<string, Map<string, { publicKey: Buffer; validUntilTs: number }>>();
  for (const [server, keyId, publicKey, validUntilTs] of list) {
    const ofServer = keys.get(server) ?? new Map();
    keys.set(server, ofServer.set(keyId, { publicKey: Buffer.from(publicKey), validUntilTs }));
  }
  return keys;
}

function answer(inspector: PduInspector, task: ThreadTask): ThreadAnswer {
  const { number, bytes, offsets } = task;
  const buffer = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const broken: BrokenLine[] = [];
  let lines = '';
  let pdus = 0;
  let bad = 0;
  for (let i = 0; i + 1 < offsets.length; i++) {
    const line = task.firstLine + i;
    const inspection = inspector.inspect(buffer, offsets[i] as number, offsets[i + 1] as number, line);
    if (inspection === undefined) continue;
    const { report, good } = inspection;
    lines += `${JSON.stringify(report)}\n`;
    pdus += 1;
    if (!good) bad += 1;
    if (report.reason !== undefined) broken.push({ line, code: report.format, reason: report.reason });
  }
  return { number, bytes, output: new TextEncoder().encode(lines), pdus, bad, broken };
}

const data = workerData as ThreadData;
const rules = roomVersionRules(data.roomVersion);
if (rules === undefined || parentPort === null) throw new Error('verify-thread is started by verify-threads only');
const port = parentPort;
const inspector = new PduInspector(rules, data.keys === undefined ? undefined : keysOf(data.keys));

port.on('message', (task: ThreadTask) => {
  const done = answer(inspector, task);
  port.postMessage(done, [done.bytes.buffer, done.output.buffer]);
});
