/**
 * `GET /_matrix/federation/v1/version`: name and version of this software. Unauthenticated.
 * Specification v1.19, server-server API, "Server implementation".
 */

import type { Endpoint } from '../endpoint.js';
import { ok, SMALL_BODY_BYTES_MAX } from '../endpoint.js';
import { SOFTWARE_VERSION } from '../software-version.js';

export function version(): Endpoint {
  return {
    method: 'GET',
    path: '/_matrix/federation/v1/version',
    bodyBytesMax: SMALL_BODY_BYTES_MAX,
    handle: async () => ok({ server: { name: 'Joinery', version: SOFTWARE_VERSION } }),
  };
}
