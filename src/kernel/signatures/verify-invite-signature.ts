/**
 * The signature check that the rule on third-party invites asks for: does the `signed` object bear a signature under one
 * of the public keys that the `m.room.third_party_invite` event published?
 * Specification v1.19, rooms/v11.md, "Authorization rules", rule 4.4.1.7.
 */

import { CanonicalJsonError } from '../matrix/canonical-json.js';
import type { JsonObject } from '../matrix/json.js';
import { PUBLIC_KEY_BYTES, verify } from './ed25519.js';
import { signedBytes } from './sign-json.js';

/**
 * Whether `signatureBase64` is that of `signed` under `publicKeyBase64` (either alphabet, padded or not). Malformed input
 * is a false, never an error.
 */
export function verifyInviteSignature(publicKeyBase64: string, signatureBase64: string, signed: JsonObject): boolean {
  const publicKey = Buffer.from(publicKeyBase64, 'base64');
  if (publicKey.length !== PUBLIC_KEY_BYTES) return false;
  try {
    return verify(signedBytes(signed), signatureBase64, publicKey);
  } catch (error) {
    if (error instanceof CanonicalJsonError) return false;
    throw error;
  }
}
