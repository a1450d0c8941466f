/**
 * Passwords through libsodium's argon2id, off the main thread, and access tokens. One password at a time: each takes
 * 64 MiB while it runs, and nobody may take our memory by logging in a lot.
 */

import { randomBytes } from 'node:crypto';
import sodium from 'sodium-native';
import { MatrixError } from '../../kernel/matrix/matrix-error.js';

/** Passwords that may wait: some 50 ms each, so that the last waits five seconds. */
export const PASSWORDS_WAITING_MAX = 100;
/** Longest password in bytes, as the reference has it. */
export const PASSWORD_BYTES_MAX = 512;
const ACCESS_TOKEN_BYTES = 32;
/** Names the kind of secret to whoever finds one in a log or a leak. */
const ACCESS_TOKEN_PREFIX = 'jnr_';
const BUSY_RETRY_AFTER_MS = 2_000;

let tail: Promise<unknown> = Promise.resolve();
let waiting = 0;

async function inTurn<T>(task: () => Promise<T>): Promise<T> {
  if (waiting >= PASSWORDS_WAITING_MAX) {
    throw new MatrixError(429, 'M_LIMIT_EXCEEDED', 'too many logins at once', { retry_after_ms: BUSY_RETRY_AFTER_MS });
  }
  waiting += 1;
  const result = tail.then(task);
  tail = result.then(
    () => undefined,
    () => undefined,
  );
  try {
    return await result;
  } finally {
    waiting -= 1;
  }
}

function passwordBytes(password: string): Buffer {
  const bytes = Buffer.from(password, 'utf8');
  if (bytes.length === 0) throw new MatrixError(400, 'M_INVALID_PARAM', 'the password is empty');
  if (bytes.length > PASSWORD_BYTES_MAX) throw new MatrixError(400, 'M_INVALID_PARAM', `a password has at most ${PASSWORD_BYTES_MAX} bytes`);
  return bytes;
}

/** libsodium's argon2id string, with the interactive limits. Throws MatrixError 400 on an empty or too long one. */
export function hashPassword(password: string): Promise<string> {
  const bytes = passwordBytes(password);
  return inTurn(
    () =>
      new Promise<string>((resolve, reject) => {
        const output = Buffer.alloc(sodium.crypto_pwhash_STRBYTES);
        const { crypto_pwhash_OPSLIMIT_INTERACTIVE: operations, crypto_pwhash_MEMLIMIT_INTERACTIVE: memory } = sodium;
        sodium.crypto_pwhash_str_async(output, bytes, operations, memory, (error) => {
          if (error !== null && error !== undefined) reject(error);
          else resolve(output.toString('latin1').replace(/\0+$/, ''));
        });
      }),
  );
}

/**
 * Whether the password is the one of `passwordHash`. Without a hash (no such user, or one without a password) the answer
 * is no, after as much work.
 */
export async function verifyPassword(passwordHash: string | undefined, password: string): Promise<boolean> {
  const bytes = passwordBytes(password);
  if (passwordHash === undefined || passwordHash === '') {
    await hashPassword(password);
    return false;
  }
  const stored = Buffer.alloc(sodium.crypto_pwhash_STRBYTES);
  stored.write(passwordHash, 'latin1');
  return inTurn(
    () =>
      new Promise<boolean>((resolve, reject) => {
        sodium.crypto_pwhash_str_verify_async(stored, bytes, (error, same) => {
          if (error !== null && error !== undefined) reject(error);
          else resolve(same);
        });
      }),
  );
}

/** A new access token. */
export function newAccessToken(): string {
  return ACCESS_TOKEN_PREFIX + randomBytes(ACCESS_TOKEN_BYTES).toString('base64url');
}

/** A random name for a device or a user who brought none. */
export function randomName(): string {
  return randomBytes(5).toString('hex');
}
