/**
 * Stands in for the origin servers of the rehearsal room: takes their transactions and answers that all is well, under
 * one certificate for `*.hq.test`. It keeps nothing.
 */

import type { IncomingMessage, ServerResponse } from 'node:http';
import { createServer } from 'node:https';
import type { CertificatePair } from '../../src/cli/make-certificate.js';

export interface OriginSink {
  /** Transactions taken so far. */
  readonly transactions: () => number;
  close(): Promise<void>;
}

const TAKEN = '{"pdus":{}}';
const UNKNOWN = '{"errcode":"M_UNRECOGNIZED","error":"This is not a server but a sink"}';

/** Listens at a loopback port. */
export async function startOriginSink(port: number, certificate: CertificatePair): Promise<OriginSink> {
  let transactions = 0;
  const answer = (request: IncomingMessage, response: ServerResponse): void => {
    request.resume();
    request.once('end', () => {
      const known = request.method === 'PUT' && request.url?.startsWith('/_matrix/federation/v1/send/') === true;
      if (known) transactions += 1;
      response.writeHead(known ? 200 : 404, { 'content-type': 'application/json' });
      response.end(known ? TAKEN : UNKNOWN);
    });
  };
  const server = createServer({ cert: certificate.cert, key: certificate.key }, answer);
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject);
    server.listen(port, '127.0.0.1', resolve);
  });
  const close = async (): Promise<void> => {
    const closed = new Promise<void>((resolve) => server.close(() => resolve()));
    server.closeAllConnections();
    await closed;
  };
  return { transactions: () => transactions, close };
}
