/**
 * Makes TLS certificates without openssl: self-signed, an authority's, or signed by an authority made here. ECDSA on
 * P-256 with SHA-256, which every TLS library in use accepts and which costs a handshake far less than RSA.
 * Names follow the server-server API v1.19, "Server discovery": the certificate is for the host without its port.
 */

import { isIP } from 'node:net';
import { generate as generateX509 } from 'selfsigned';

export interface CertificatePair {
  /** PEM. */
  readonly cert: string;
  /** PEM, PKCS #8. */
  readonly key: string;
}

export interface CertificateOptions {
  readonly commonName: string;
  /** DNS names (a wildcard such as `*.hq.test` too) and IP addresses that the certificate is for. */
  readonly altNames: readonly string[];
  /** Who signs; without it the certificate is self-signed. */
  readonly ca?: CertificatePair;
  /** Whether the certificate may sign others. */
  readonly isCa?: boolean;
}

/** Ten years: such a certificate is for a closed network or a first try, where nothing renews it. */
const CERTIFICATE_DAYS = 3650;
/** Begins a day early, for a reader whose clock is behind. */
const CLOCK_LEEWAY_DAYS = 1;
const DAY_MS = 24 * 60 * 60 * 1000;
/** X.520's upper bound for a common name; the alternative names are what is checked. */
const COMMON_NAME_CHARS_MAX = 64;

/** A new key pair with its certificate. */
export async function makeCertificate(options: CertificateOptions): Promise<CertificatePair> {
  const isCa = options.isCa ?? false;
  const nowMs = Date.now();
  const made = await generateX509([{ name: 'commonName', value: options.commonName.slice(0, COMMON_NAME_CHARS_MAX) }], {
    keyType: 'ec',
    curve: 'P-256',
    algorithm: 'sha256',
    notBeforeDate: new Date(nowMs - CLOCK_LEEWAY_DAYS * DAY_MS),
    notAfterDate: new Date(nowMs + CERTIFICATE_DAYS * DAY_MS),
    extensions: [
      { name: 'basicConstraints', cA: isCa, critical: true },
      isCa
        ? { name: 'keyUsage', keyCertSign: true, cRLSign: true, digitalSignature: true, critical: true }
        : { name: 'keyUsage', digitalSignature: true, critical: true },
      { name: 'extKeyUsage', serverAuth: true, clientAuth: true },
      { name: 'subjectAltName', altNames: [...new Set(options.altNames)].map(altNameEntry) },
    ],
    ...(options.ca === undefined ? {} : { ca: { cert: options.ca.cert, key: options.ca.key } }),
  });
  return { cert: made.cert, key: made.private };
}

function altNameEntry(name: string): { type: 2; value: string } | { type: 7; ip: string } {
  return isIP(name) === 0 ? { type: 2, value: name } : { type: 7, ip: name };
}
