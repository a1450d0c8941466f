/**
 * `GET /_matrix/key/v2/server`: our signing key, signed with itself. Unauthenticated.
 * Specification v1.19, server-server API, "Publishing Keys".
 */

import { canonicalJson } from '../../kernel/matrix/canonical-json.js';
import type { JsonObject } from '../../kernel/matrix/json.js';
import type { SigningKey } from '../../kernel/signatures/ed25519.js';
import { unpadded } from '../../kernel/signatures/hash-pdu.js';
import { signJson } from '../../kernel/signatures/sign-json.js';
import type { Endpoint } from '../endpoint.js';
import { SMALL_BODY_BYTES_MAX } from '../endpoint.js';
import type { FederationContext } from './federation-context.js';

/** How long others may use our key without asking again, in milliseconds: after a leak it is dead within a day. */
export const OWN_KEY_VALID_MS = 24 * 60 * 60 * 1000;

/** Our key response as of `now`. */
export function ownKeyResponse(key: SigningKey, now: number): JsonObject {
  const response: JsonObject = {
    server_name: key.serverName,
    verify_keys: { [key.keyId]: { key: unpadded(key.publicKey.toString('base64')) } },
    old_verify_keys: {},
    valid_until_ts: now + OWN_KEY_VALID_MS,
  };
  return signJson(response, key);
}

export function serveKeys({ server }: FederationContext): Endpoint {
  return {
    method: 'GET',
    path: '/_matrix/key/v2/server',
    bodyBytesMax: SMALL_BODY_BYTES_MAX,
    handle: async () => ({
      status: 200,
      contentType: 'application/json',
      bytes: Buffer.from(canonicalJson(ownKeyResponse(server.signingKey, server.clock())), 'utf8'),
    }),
  };
}
