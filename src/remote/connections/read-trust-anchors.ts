/** Reads the file of extra trust anchors before anything is opened: Node takes a file without any certificate and says nothing. */

import { X509Certificate } from 'node:crypto';
import { readFileSync } from 'node:fs';

/** Far above a system's whole collection; a wrong path must not read a database into memory. */
const TRUST_ANCHORS_BYTES_MAX = 4 * 1024 * 1024;
const PEM = /-----BEGIN CERTIFICATE-----[^-]*-----END CERTIFICATE-----/g;

/** A file of trust anchors that cannot be used; the message names configuration key, file and reason. */
export class TrustAnchorsError extends Error {
  override readonly name = 'TrustAnchorsError';
}

/** The certificates of a PEM file, as text. Throws TrustAnchorsError. */
export function readTrustAnchors(file: string): string {
  const refuse = (reason: string, cause?: unknown) =>
    new TrustAnchorsError(`federation.ca_file: ${file} ${reason}`, { cause });
  let text: string;
  try {
    const bytes = readFileSync(file);
    if (bytes.length > TRUST_ANCHORS_BYTES_MAX) throw new Error(`it has more than ${TRUST_ANCHORS_BYTES_MAX} bytes`);
    text = bytes.toString('utf8');
  } catch (cause) {
    throw refuse(`cannot be read: ${cause instanceof Error ? cause.message : String(cause)}`, cause);
  }
  const certificates = text.match(PEM) ?? [];
  if (certificates.length === 0) throw refuse('holds no PEM certificate');
  for (const [n, certificate] of certificates.entries()) {
    try {
      new X509Certificate(certificate);
    } catch (cause) {
      throw refuse(`holds something else as certificate ${n + 1}: ${(cause as Error).message}`, cause);
    }
  }
  return certificates.join('\n');
}
