/**
 * Stands in for the origin servers of the rehearsal room: takes their transactions and answers that all is well, under
 * one certificate for `*.hq.test`. It keeps nothing.
 *
 * It listens with the product's own HTTP server: it runs on the cores that are being measured, and Node's server needs
 * several times the CPU for the same answers.
 */

import { join } from 'node:path';
import pino from 'pino';
import type { Endpoint } from '../../src/api/endpoint.js';
import { ok } from '../../src/api/endpoint.js';
import type { TlsFiles } from '../../src/http/check-tls-files.js';
import { startHttpServer } from '../../src/http/start-http-server.js';

export interface OriginSink {
  close(): Promise<void>;
}

/** Largest transaction that a server may send: 50 PDUs and 100 EDUs of 64 KiB, in bytes. */
const BODY_BYTES_MAX = 150 * 64 * 1024;
/** How long requests in progress are waited for at the end, in milliseconds. */
const CLOSE_DEADLINE_MS = 1_000;

/** Listens at a loopback port. */
export async function startOriginSink(port: number, tls: TlsFiles): Promise<OriginSink> {
  const send: Endpoint = {
    method: 'PUT',
    path: '/_matrix/federation/v1/send/{txnId}',
    bodyBytesMax: BODY_BYTES_MAX,
    handle: async () => ok({ pdus: {} }),
  };
  const server = await startHttpServer({
    listeners: [{ bind: '127.0.0.1', port, tls, endpoints: [send] }],
    log: pino({ level: 'warn' }, pino.destination(2)),
  });
  return { close: () => server.close(CLOSE_DEADLINE_MS) };
}

/** Where the sink's certificate and key are in a run's folder. */
export function sinkTlsFiles(dir: string): TlsFiles {
  return { cert: join(dir, 'sink.crt'), key: join(dir, 'sink.key') };
}
