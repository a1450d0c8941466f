/** A running server for one test, a client that keeps paths as they are, and a log that remembers. */

import http from 'node:http';
import https from 'node:https';
import type { AddressInfo } from 'node:net';
import type { ApiRequest, ApiResponse, Endpoint, HttpMethod } from '../../src/api/endpoint.js';
import type { HttpLog } from '../../src/http/limits.js';
import { type HttpServer, type HttpServerOptions, startHttpServer } from '../../src/http/start-http-server.js';

export interface MemoryLog extends HttpLog {
  readonly records: { fields: Readonly<Record<string, unknown>>; message: string }[];
}

export function memoryLog(): MemoryLog {
  const records: MemoryLog['records'] = [];
  return {
    records,
    error: (fields, message) => void records.push({ fields, message }),
    warn: (fields, message) => void records.push({ fields, message }),
  };
}

export function endpoint(
  method: HttpMethod,
  path: string,
  handle: (request: ApiRequest) => ApiResponse | Promise<ApiResponse>,
  bodyBytesMax = 1024,
): Endpoint {
  return { method, path, bodyBytesMax, handle: async (request) => handle(request) };
}

export interface TestServer {
  readonly server: HttpServer;
  readonly port: number;
  readonly log: MemoryLog;
}

/** A plain server on a free loopback port, closed when `use` has ended. */
export async function withServer(
  endpoints: readonly Endpoint[],
  use: (running: TestServer) => Promise<void>,
  options: Partial<HttpServerOptions> & { tls?: { cert: string; key: string } } = {},
): Promise<void> {
  const log = memoryLog();
  const { tls, ...rest } = options;
  const server = await startHttpServer({
    listeners: [{ bind: '127.0.0.1', port: 0, endpoints, ...(tls === undefined ? {} : { tls }) }],
    log,
    ...rest,
  });
  try {
    await use({ server, port: server.addresses[0]?.port ?? 0, log });
  } finally {
    await server.close(0);
  }
}

export interface Answer {
  readonly status: number;
  readonly headers: http.IncomingHttpHeaders;
  readonly text: string;
}

export interface Ask {
  readonly method?: string;
  readonly headers?: http.OutgoingHttpHeaders;
  readonly body?: string | Buffer;
}

/** One request with the path exactly as given. */
export function ask(port: number, path: string, options: Ask = {}): Promise<Answer> {
  return new Promise((resolve, reject) => {
    const request = http.request(
      { host: '127.0.0.1', port, path, method: options.method ?? 'GET', headers: options.headers ?? {}, agent: false },
      (response) => {
        const chunks: Buffer[] = [];
        response.on('data', (chunk: Buffer) => chunks.push(chunk));
        response.on('error', reject);
        response.on('end', () =>
          resolve({
            status: response.statusCode ?? 0,
            headers: response.headers,
            text: Buffer.concat(chunks).toString('utf8'),
          }),
        );
      },
    );
    request.on('error', reject);
    request.end(options.body);
  });
}

/** The response of a request, its body not yet read. */
export function open(
  port: number,
  path: string,
  ca?: string,
): Promise<{ response: http.IncomingMessage; request: http.ClientRequest }> {
  return new Promise((resolve, reject) => {
    const options = { host: '127.0.0.1', port, path, agent: false as const };
    const done = (response: http.IncomingMessage): void => resolve({ response, request });
    const request = ca === undefined ? http.get(options, done) : https.get({ ...options, ca }, done);
    request.on('error', reject);
  });
}

/** A promise and the functions that settle it. */
export function gate<T = void>(): { promise: Promise<T>; open: (value: T) => void } {
  let open: (value: T) => void = () => undefined;
  const promise = new Promise<T>((resolve) => {
    open = resolve;
  });
  return { promise, open };
}

export function portOf(address: AddressInfo | string | null): number {
  if (address === null || typeof address === 'string') throw new Error('not a TCP address');
  return address.port;
}
