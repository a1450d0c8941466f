/**
 * Question: how fast does the splitter find the events in a response that arrives in chunks, and does it cost more than
 * parsing the whole body at once would?
 *
 * Workload: the `pdus` of a made-up room's state in 64 KiB chunks. Cannot show: memory (the reason for the splitter),
 * decompression, TLS, and chunk sizes of a real network.
 */

import { ResponseSplitter } from '../src/remote/split-response.js';
import type { BenchReport, BenchSize } from './measure.js';
import { measure, mustEqual } from './measure.js';
import { signedRoom } from './signed-room.js';

const CHUNK_BYTES = 64 * 1024;

function splitAll(chunks: readonly Buffer[], element: (bytes: Buffer) => void): void {
  const splitter = new ResponseSplitter({
    arrays: new Set(['pdus']),
    element: (_field, bytes) => element(bytes),
    member: () => {},
    oversized: () => {
      throw new Error('no element of this workload is oversized');
    },
  });
  for (const chunk of chunks) splitter.push(chunk);
  splitter.end();
}

export async function run(size: BenchSize): Promise<BenchReport> {
  const events = size === 'full' ? 5000 : 100;
  const { bodies } = signedRoom(events - 3, 10);
  const body = Buffer.concat([
    Buffer.from('{"origin":"s0.test","pdus":['),
    Buffer.from(bodies.join(',')),
    Buffer.from(']}'),
  ]);
  const chunks: Buffer[] = [];
  for (let at = 0; at < body.length; at += CHUNK_BYTES) chunks.push(Buffer.from(body.subarray(at, at + CHUNK_BYTES)));
  const found: string[] = [];
  splitAll(chunks, (bytes) => found.push(bytes.toString('utf8')));
  const parsed = JSON.parse(body.toString('utf8')) as { pdus: unknown[] };
  mustEqual(found.join('\n'), parsed.pdus.map((pdu) => JSON.stringify(pdu)).join('\n'), 'splitting');
  const count = () => {
    let bytesFound = 0;
    splitAll(chunks, (bytes) => {
      bytesFound += bytes.length;
    });
    return bytesFound;
  };
  return measure(
    `split ${bodies.length} events, ${Math.round(body.length / 1024)} KiB`,
    size,
    bodies.length,
    found.join('\n'),
    [
      { name: 'ResponseSplitter', run: count },
      { name: 'join the chunks, JSON.parse', run: () => JSON.parse(Buffer.concat(chunks).toString('utf8')) as unknown },
    ],
  );
}
