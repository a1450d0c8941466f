/**
 * The network of the self-test: the resident's endpoints behind TLS on a free port of the loopback address, and the client
 * that reaches them there. The same sockets, certificates and parsers as in a join, since the first use of each is slow.
 */

import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { Endpoint } from '../api/endpoint.js';
import { makeCertificate } from '../cli/make-certificate.js';
import { startHttpServer } from '../http/start-http-server.js';
import type { SigningKey } from '../kernel/signatures/ed25519.js';
import type { FederationClient } from '../remote/federation-client.js';
import { createFederationClient } from '../remote/federation-client.js';
import type { RoomLog } from '../room/room-server.js';
import { MADE_UP_RESIDENT } from '../workers/made-up-room.js';

const LOOPBACK = '127.0.0.1';
/** Requests in progress at the end may take as long, in milliseconds; there are none. */
const CLOSE_DEADLINE_MS = 1_000;

export interface SelfTestNetwork {
  /** Signs with the joiner's key and reaches the resident. */
  readonly client: FederationClient;
  close(): Promise<void>;
}

/** Serves the resident's endpoints. `folder`: for the certificate, which nobody trusts but this client. */
export async function openNetwork(
  folder: string,
  endpoints: readonly Endpoint[],
  joinerKey: SigningKey,
  log: RoomLog,
): Promise<SelfTestNetwork> {
  const { cert, key } = await makeCertificate({ commonName: MADE_UP_RESIDENT, altNames: [MADE_UP_RESIDENT] });
  const tls = { cert: join(folder, 'tls.crt'), key: join(folder, 'tls.key') };
  await writeFile(tls.cert, cert);
  await writeFile(tls.key, key, { mode: 0o600 });
  const http = await startHttpServer({ listeners: [{ bind: LOOPBACK, port: 0, tls, endpoints }], log });
  const client = createFederationClient({
    signingKey: joinerKey,
    hosts: { [MADE_UP_RESIDENT]: `${LOOPBACK}:${http.addresses[0]?.port}` },
    ca: cert,
    verifyCertificates: true,
    allowRanges: [`${LOOPBACK}/32`],
    clock: Date.now,
  });
  return {
    client,
    close: async () => {
      await client.close();
      await http.close(CLOSE_DEADLINE_MS);
    },
  };
}
