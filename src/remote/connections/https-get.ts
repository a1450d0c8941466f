/**
 * One small HTTPS GET for `.well-known`: same address policy and trust anchors as everything else, no redirects, a
 * bounded body, one deadline for all of it.
 */

import { get } from 'node:https';
import type { HttpsGet } from '../discovery/well-known.js';
import type { TlsSettings } from './tls-connector.js';
import { connectTls } from './tls-connector.js';

/** Longest time for the whole answer, in milliseconds: every first request to a server waits for it. */
export const WELL_KNOWN_TIMEOUT_MS = 10_000;
const HTTPS_PORT = 443;

/** A GET over connections made with `settings`. */
export function createHttpsGet(settings: TlsSettings, timeoutMs = WELL_KNOWN_TIMEOUT_MS): HttpsGet {
  return async (url, bodyBytesMax) => {
    const host = url.hostname.replace(/^\[|\]$/g, '');
    const port = url.port === '' ? HTTPS_PORT : Number(url.port);
    const signal = AbortSignal.timeout(timeoutMs);
    const socket = await connectTls({ targets: [{ host, port }], tlsServerName: host }, settings);
    try {
      return await new Promise((resolve, reject) => {
        const request = get(
          url,
          {
            createConnection: () => socket,
            signal,
            headers: { 'user-agent': 'Joinery', 'accept-encoding': 'identity', connection: 'close' },
          },
          (response) => {
            const chunks: Buffer[] = [];
            let bytes = 0;
            response.on('data', (chunk: Buffer) => {
              bytes += chunk.length;
              chunks.push(chunk);
              if (bytes > bodyBytesMax) response.destroy(new Error(`${url.host}: more than ${bodyBytesMax} bytes`));
            });
            response.on('error', reject);
            response.on('end', () =>
              resolve({
                status: response.statusCode ?? 0,
                cacheControl: response.headers['cache-control'],
                location: response.headers.location,
                body: Buffer.concat(chunks).toString('utf8'),
              }),
            );
          },
        );
        request.on('error', reject);
      });
    } finally {
      socket.destroy();
    }
  };
}
