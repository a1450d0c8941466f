/**
 * Passwords as argon2id strings, made and checked by libsodium off the main thread. Each costs 64 MiB and some 0.1 s of a
 * core, so that few run at once, some wait, and the rest is told to come back: nobody can fill the machine by logging in.
 */

import sodium from 'sodium-native';
import { MatrixError } from '../../kernel/matrix/matrix-error.js';

/** Hashes at once: half of the runtime's threads for such work, which name lookups and files need too; 128 MiB. */
export const HASHES_AT_ONCE_MAX = 2;
/** Requests that wait for their hash: some five seconds' worth. */
export const HASHES_WAITING_MAX = 100;
/** When who found the queue full should come again: half of it is done by then. */
const RETRY_AFTER_MS = 3_000;

export class Passwords {
  #running = 0;
  readonly #waiting: (() => void)[] = [];

  /** The string to store. Throws 429 where too much is waiting. */
  hash(password: string): Promise<string> {
    return this.#inTurn(() => hashPassword(password));
  }

  /** Whether a password is the one that was stored; `undefined`, nobody's, costs the same and is none. Throws 429. */
  matches(stored: string | undefined, password: string): Promise<boolean> {
    return this.#inTurn(async () => {
      if (stored !== undefined) return verifyPassword(stored, password);
      await hashPassword(password);
      return false;
    });
  }

  async #inTurn<T>(work: () => Promise<T>): Promise<T> {
    if (this.#running < HASHES_AT_ONCE_MAX) {
      this.#running += 1;
    } else if (this.#waiting.length < HASHES_WAITING_MAX) {
      // Whoever ends hands its place over.
      await new Promise<void>((resolve) => this.#waiting.push(resolve));
    } else {
      throw new MatrixError(429, 'M_LIMIT_EXCEEDED', 'too many are logging in: try again in a moment', {
        retry_after_ms: RETRY_AFTER_MS,
      });
    }
    try {
      return await work();
    } finally {
      const next = this.#waiting.shift();
      if (next === undefined) this.#running -= 1;
      else next();
    }
  }
}

async function hashPassword(password: string): Promise<string> {
  const output = Buffer.alloc(sodium.crypto_pwhash_STRBYTES);
  const { crypto_pwhash_OPSLIMIT_INTERACTIVE: ops, crypto_pwhash_MEMLIMIT_INTERACTIVE: memory } = sodium;
  await new Promise<void>((resolve, reject) => {
    sodium.crypto_pwhash_str_async(output, Buffer.from(password, 'utf8'), ops, memory, (error) =>
      error ? reject(error) : resolve(),
    );
  });
  return output.toString('utf8').replace(/\0+$/, '');
}

function verifyPassword(stored: string, password: string): Promise<boolean> {
  const padded = Buffer.alloc(sodium.crypto_pwhash_STRBYTES);
  padded.write(stored, 'utf8');
  return new Promise((resolve, reject) => {
    sodium.crypto_pwhash_str_verify_async(padded, Buffer.from(password, 'utf8'), (error, same) =>
      error ? reject(error) : resolve(same),
    );
  });
}
