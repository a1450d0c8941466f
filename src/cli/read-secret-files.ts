/**
 * Reads the two secrets beside the configuration: the server's signing key and the admin token. Errors name file and
 * line and never quote what they found.
 *
 * The signing key file has the reference homeserver's format, one line: `ed25519 a_abcd <unpadded base64 of the seed>`.
 * Specification v1.19, appendices, "Signing JSON" (key identifiers) and "Unpadded Base64".
 */

import { readFileSync } from 'node:fs';
import { type KeyId, parseKeyId } from '../kernel/matrix/ids.js';

export interface SigningKeyFile {
  /** `ed25519:a_abcd`. */
  readonly keyId: KeyId;
  /** 32 bytes. */
  readonly seed: Buffer;
}

/** A signing key or admin token file that cannot be used; the message names file, line and remedy. */
export class SecretFileError extends Error {
  override readonly name = 'SecretFileError';
}

/** Far above one line of key or token; a wrong path must not read a database into memory. */
const SECRET_FILE_BYTES_MAX = 16 * 1024;
/** Shorter tokens can be guessed: 16 characters of base64 are 96 bits. */
const ADMIN_TOKEN_CHARS_MIN = 16;
const SEED_BYTES = 32;

interface Line {
  readonly number: number;
  readonly text: string;
}

/** The lines of a file that are not blank. */
function readLines(file: string, what: string): readonly Line[] {
  let text: string;
  try {
    const bytes = readFileSync(file);
    if (bytes.length > SECRET_FILE_BYTES_MAX) throw new Error(`it has more than ${SECRET_FILE_BYTES_MAX} bytes`);
    text = bytes.toString('utf8');
  } catch (cause) {
    const reason = cause instanceof Error ? cause.message : String(cause);
    throw new SecretFileError(`${file}: the ${what} cannot be read: ${reason}`, { cause });
  }
  return text
    .split(/\r?\n/)
    .map((line, index) => ({ number: index + 1, text: line.trim() }))
    .filter((line) => line.text !== '');
}

function theOnlyLine(file: string, what: string, remedy: string): Line {
  const [line, second] = readLines(file, what);
  if (line === undefined) throw new SecretFileError(`${file}: the file is empty; ${remedy}`);
  if (second !== undefined) throw new SecretFileError(`${file}:${second.number}: a second ${what}; keep one line`);
  return line;
}

/**
 * The server's signing key.
 *
 * @throws SecretFileError
 */
export function readSigningKey(file: string): SigningKeyFile {
  const line = theOnlyLine(file, 'signing key', '`joinery generate` makes a signing key');
  const fail = (reason: string): never => {
    throw new SecretFileError(`${file}:${line.number}: ${reason}; a line reads \`ed25519 a_abcd <base64 seed>\``);
  };
  const [algorithm, version, base64, ...more] = line.text.split(/\s+/);
  if (version === undefined || base64 === undefined || more.length > 0) return fail('expected three words');
  if (algorithm !== 'ed25519') return fail('the only algorithm known is ed25519');
  const keyId = /^[A-Za-z0-9_]+$/.test(version) ? parseKeyId(`ed25519:${version}`) : undefined;
  if (keyId === undefined) return fail('the version may hold letters, digits and underscores only');
  if (!/^[A-Za-z0-9+/]+=?$/.test(base64)) return fail('the seed is not base64');
  const seed = Buffer.from(base64, 'base64');
  if (seed.length !== SEED_BYTES) return fail(`the seed has ${seed.length} bytes instead of ${SEED_BYTES}`);
  return { keyId, seed };
}

/**
 * The bearer token of the admin API.
 *
 * @throws SecretFileError
 */
export function readAdminToken(file: string): string {
  const line = theOnlyLine(file, 'admin token', '`joinery generate` makes a token');
  if (!/^[\x21-\x7e]+$/.test(line.text)) {
    throw new SecretFileError(`${file}:${line.number}: a token has no spaces and only ASCII characters`);
  }
  if (line.text.length < ADMIN_TOKEN_CHARS_MIN) {
    throw new SecretFileError(`${file}:${line.number}: the token is shorter than ${ADMIN_TOKEN_CHARS_MIN} characters`);
  }
  return line.text;
}
