/**
 * Ed25519 through libsodium: the only file that touches it for signatures.
 * Specification v1.19, appendices, "Signing JSON" and "Cryptographic key representation".
 */

import sodium from 'sodium-native';
import type { KeyId, ServerName } from '../matrix/ids.js';

export const PUBLIC_KEY_BYTES = 32;
export const SIGNATURE_BYTES = 64;
export const SEED_BYTES = 32;

/** Our own signing key. */
export interface SigningKey {
  readonly serverName: ServerName;
  readonly keyId: KeyId;
  readonly publicKey: Buffer;
  /** libsodium's 64-byte form: seed and public key. */
  readonly secretKey: Buffer;
}

/** The signing key of a 32-byte seed. */
export function signingKeyOfSeed(serverName: ServerName, keyId: KeyId, seed: Buffer): SigningKey {
  const publicKey = Buffer.alloc(PUBLIC_KEY_BYTES);
  const secretKey = Buffer.alloc(sodium.crypto_sign_SECRETKEYBYTES);
  sodium.crypto_sign_seed_keypair(publicKey, secretKey, seed);
  return { serverName, keyId, publicKey, secretKey };
}

/** The signature of `message`: 64 bytes. */
export function sign(message: Buffer, key: SigningKey): Buffer {
  const signature = Buffer.alloc(SIGNATURE_BYTES);
  sodium.crypto_sign_detached(signature, message, key.secretKey);
  return signature;
}

const signatureScratch = Buffer.alloc(SIGNATURE_BYTES + 2);
/** Base64 of 64 bytes in either alphabet, padded or not; Node's decoder would skip whatever else stood between. */
const SIGNATURE = /^[A-Za-z0-9+/_-]{86}(?:==)?$/;

/**
 * Whether `signature` (base64 of either alphabet, padded or not) is that of `message` under `publicKey`. libsodium
 * refuses small-order points and non-canonical encodings; what is not base64 of 64 bytes is refused here.
 */
export function verify(message: Buffer, signature: string, publicKey: Buffer): boolean {
  if (!SIGNATURE.test(signature) || signatureScratch.write(signature, 'base64') !== SIGNATURE_BYTES) return false;
  return verifyBytes(message, signatureScratch.subarray(0, SIGNATURE_BYTES), publicKey);
}

/** `verify` for a signature that is decoded already (64 bytes). */
export function verifyBytes(message: Buffer, signature: Buffer, publicKey: Buffer): boolean {
  return sodium.crypto_sign_verify_detached(signature, message, publicKey);
}
