/**
 * Checks a listener's certificate and key before uWebSockets.js reads them, because all it says of a wrong path, an
 * unreadable file or a key that does not fit is "App construction failed".
 */

import { readFileSync } from 'node:fs';
import { createSecureContext } from 'node:tls';

export interface TlsFiles {
  /** PEM file with the certificate, then those between it and its authority. */
  readonly cert: string;
  /** PEM file with the certificate's private key. */
  readonly key: string;
}

/** A certificate or key that cannot be used; the message names the file. */
export class TlsFileError extends Error {
  override readonly name = 'TlsFileError';
}

function readPem(file: string, what: string): Buffer {
  try {
    return readFileSync(file);
  } catch (cause) {
    const reason = cause instanceof Error ? cause.message : String(cause);
    throw new TlsFileError(`TLS ${what} ${file} cannot be read: ${reason}`, { cause });
  }
}

function checkPem(words: string, options: { readonly cert?: Buffer; readonly key?: Buffer }): void {
  try {
    createSecureContext(options);
  } catch (cause) {
    throw new TlsFileError(`${words}: ${cause instanceof Error ? cause.message : String(cause)}`, { cause });
  }
}

/**
 * Passes when both files can be read, hold PEM and belong together.
 *
 * @throws TlsFileError naming the file that is wrong
 */
export function checkTlsFiles(files: TlsFiles): void {
  const cert = readPem(files.cert, 'certificate');
  const key = readPem(files.key, 'key');
  checkPem(`TLS certificate ${files.cert} is not a PEM certificate`, { cert });
  checkPem(`TLS key ${files.key} is not a PEM private key`, { key });
  checkPem(`TLS key ${files.key} does not belong to the certificate ${files.cert}`, { cert, key });
}
