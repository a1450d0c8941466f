/**
 * Signing and verifying JSON objects that are not events: key responses, third-party invites, requests.
 * The signature covers the canonical JSON without `signatures` and `unsigned`.
 * Specification v1.19, appendices, "Signing JSON" and "Checking for a signature".
 */

import { canonicalJson } from '../matrix/canonical-json.js';
import type { JsonObject, JsonValue } from '../matrix/json.js';
import { isJsonObject } from '../matrix/json.js';
import type { SigningKey } from './ed25519.js';
import { sign, verify } from './ed25519.js';
import { unpadded } from './hash-pdu.js';

/** The bytes that a signature of `object` covers; `strict` as in canonicalJson. Throws CanonicalJsonError. */
export function signedBytes(object: JsonObject, strict = true): Buffer {
  const { signatures: _signatures, unsigned: _unsigned, ...covered } = object;
  return Buffer.from(canonicalJson(covered, strict), 'utf8');
}

/** `signatures` with ours added. */
export function withSignature(signatures: JsonValue | undefined, key: SigningKey, message: Buffer): JsonObject {
  const others = isJsonObject(signatures) ? signatures : {};
  const ours = isJsonObject(others[key.serverName]) ? (others[key.serverName] as JsonObject) : {};
  const signature = unpadded(sign(message, key).toString('base64'));
  return { ...others, [key.serverName]: { ...ours, [key.keyId]: signature } };
}

/** `object` with our signature added to those it has. Throws CanonicalJsonError. */
export function signJson(object: JsonObject, key: SigningKey): JsonObject {
  return { ...object, signatures: withSignature(object.signatures, key, signedBytes(object)) };
}

/** Whether `object` bears a good signature of `signer` under `keyId` and that public key (32 bytes). */
export function verifyJson(object: JsonObject, signer: string, keyId: string, publicKey: Buffer): boolean {
  const signature = isJsonObject(object.signatures) ? object.signatures[signer] : undefined;
  const text = isJsonObject(signature) ? signature[keyId] : undefined;
  return typeof text === 'string' && verify(signedBytes(object), text, publicKey);
}
