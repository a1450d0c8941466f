/**
 * A small HTTPS server that plays another homeserver: it records what it was asked and answers as a test says. Its
 * certificate is signed by an authority made for the test run.
 */

import { hash } from 'node:crypto';
import type { IncomingMessage, ServerResponse } from 'node:http';
import { createServer, type Server } from 'node:https';
import type { AddressInfo, Socket } from 'node:net';
import { type CertificatePair, makeCertificate } from '../../src/cli/make-certificate.js';
import type { KeyId, ServerName } from '../../src/kernel/matrix/ids.js';
import type { JsonObject, JsonValue } from '../../src/kernel/matrix/json.js';
import { type SigningKey, signingKeyOfSeed } from '../../src/kernel/signatures/ed25519.js';
import { signJson } from '../../src/kernel/signatures/sign-json.js';

export interface StubRequest {
  readonly method: string;
  /** Path and query as received. */
  readonly uri: string;
  readonly headers: IncomingMessage['headers'];
  readonly body: string;
  /** The name of the TLS handshake. */
  readonly sni: string | undefined;
}

export type StubHandler = (request: StubRequest, response: ServerResponse) => void | Promise<void>;

export interface FederationStub {
  readonly port: number;
  /** `127.0.0.1:port`, for the hosts map. */
  readonly address: string;
  readonly requests: StubRequest[];
  /** TLS connections accepted so far. */
  readonly connections: () => number;
  handler: StubHandler;
  /** Cuts every connection. */
  cut(): void;
  close(): Promise<void>;
}

let authority: Promise<CertificatePair> | undefined;

/** The test run's certificate authority. */
export function testAuthority(): Promise<CertificatePair> {
  authority ??= makeCertificate({ commonName: 'Joinery tests', altNames: [], isCa: true });
  return authority;
}

/** Answers with JSON. */
export function answerJson(response: ServerResponse, body: JsonValue, status = 200): void {
  const text = JSON.stringify(body);
  response.writeHead(status, { 'content-type': 'application/json', 'content-length': Buffer.byteLength(text) });
  response.end(text);
}

/** Starts a stub on loopback with a certificate for `altNames`. */
export async function startFederationStub(altNames: readonly string[], handler: StubHandler): Promise<FederationStub> {
  const certificate = await makeCertificate({ commonName: 'stub', altNames, ca: await testAuthority() });
  const requests: StubRequest[] = [];
  const sockets = new Set<Socket>();
  let connections = 0;
  const server: Server = createServer({ cert: certificate.cert, key: certificate.key }, (request, response) => {
    const chunks: Buffer[] = [];
    request.on('data', (chunk: Buffer) => chunks.push(chunk));
    request.on('end', () => {
      const { method = '', url = '', headers } = request;
      const sni = (request.socket as Socket & { servername?: string | false }).servername || undefined;
      const received = { method, uri: url, headers, body: Buffer.concat(chunks).toString('utf8'), sni };
      requests.push(received);
      Promise.resolve()
        .then(() => stub.handler(received, response))
        .catch((error: Error) => response.destroy(error));
    });
  });
  server.on('secureConnection', (socket) => {
    connections += 1;
    sockets.add(socket);
    socket.on('close', () => sockets.delete(socket));
  });
  // A handshake that the client breaks off is what several tests are about.
  server.on('tlsClientError', () => undefined);
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const { port } = server.address() as AddressInfo;
  const stub: FederationStub = {
    port,
    address: `127.0.0.1:${port}`,
    requests,
    connections: () => connections,
    handler,
    cut: () => {
      for (const socket of sockets) socket.destroy();
    },
    close: () =>
      new Promise((resolve) => {
        stub.cut();
        server.close(() => resolve());
      }),
  };
  return stub;
}

/** A signing key that is the same in each run. */
export function testKey(serverName: string, keyId = 'ed25519:a'): SigningKey {
  const seed = hash('sha256', `${serverName} ${keyId}`, 'buffer');
  return signingKeyOfSeed(serverName as ServerName, keyId as KeyId, seed);
}

/** The `GET /_matrix/key/v2/server` answer of a server with one key, signed by it. */
export function keyAnswer(key: SigningKey, validUntilTs: number, extra: JsonObject = {}): JsonObject {
  return signJson(
    {
      server_name: key.serverName,
      verify_keys: { [key.keyId]: { key: key.publicKey.toString('base64').replace(/=+$/, '') } },
      old_verify_keys: {},
      valid_until_ts: validUntilTs,
      ...extra,
    },
    key,
  );
}
