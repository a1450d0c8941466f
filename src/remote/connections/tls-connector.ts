/**
 * One TLS connection to a resolved server: every address it could use is checked against the address policy, the
 * certificate against the name that discovery found. TLS 1.2 or newer.
 *
 * Specification v1.19, server-server API, "TLS"; RFC 9110 section 4.3.4.
 */

import { isIP, type LookupFunction } from 'node:net';
import type { PeerCertificate, TLSSocket } from 'node:tls';
import { checkServerIdentity, connect, createSecureContext, rootCertificates, type SecureContext } from 'node:tls';
import type { AddressPolicy } from '../discovery/address-policy.js';
import type { ResolvedServer, Target } from '../discovery/discovery.js';

/** Longest time for TCP and TLS together, in milliseconds, each target. */
export const CONNECT_TIMEOUT_MS = 10_000;

/** TCP keep-alive starts after this idle time, in milliseconds: a long `/state` may be silent for minutes. */
const KEEP_ALIVE_DELAY_MS = 30_000;

export interface ResolvedAddress {
  readonly address: string;
  readonly family: number;
}

/** The addresses of a DNS name, in the order to try; rejects where there are none. */
export type LookupAddresses = (hostname: string) => Promise<readonly ResolvedAddress[]>;

export interface TlsSettings {
  readonly secureContext: SecureContext;
  readonly verifyCertificates: boolean;
  readonly policy: AddressPolicy;
  readonly lookup: LookupAddresses;
  readonly connectTimeoutMs: number;
}

export type ConnectFailureKind = 'unreachable' | 'timeout' | 'address-refused';

/** Why there is no connection. Has no `code` of its own: undici would act on some of them. */
export class ConnectFailure extends Error {
  override readonly name = 'ConnectFailure';
  readonly kind: ConnectFailureKind;
  /** The certificate is good, but for another name. */
  readonly wrongName: boolean;

  constructor(kind: ConnectFailureKind, message: string, wrongName = false, options?: ErrorOptions) {
    super(message, options);
    this.kind = kind;
    this.wrongName = wrongName;
  }
}

/** Node's trust anchors and those of `ca` (PEM), parsed once for all connections. */
export function createTrust(ca: string | undefined): SecureContext {
  return createSecureContext({
    minVersion: 'TLSv1.2',
    ...(ca === undefined ? {} : { ca: [...rootCertificates, ca] }),
  });
}

/** Whether a certificate is for `name` (a DNS name or an IP address). */
export function certificateIsFor(name: string, certificate: PeerCertificate): boolean {
  return checkServerIdentity(name, certificate) === undefined;
}

/** A `lookup` for node:net that leaves only addresses that the policy allows. */
function guardedLookup(settings: TlsSettings): LookupFunction {
  return (hostname, options, callback) => {
    settings.lookup(hostname).then(
      (found) => {
        const allowed = found.filter(({ address }) => settings.policy.allows(address));
        const first = allowed[0];
        if (first === undefined) {
          const addresses = found.map(({ address }) => address).join(', ');
          callback(refusedAddress(hostname, addresses), [], 0);
        } else if (options.all === true) {
          callback(null, [...allowed]);
        } else {
          callback(null, first.address, first.family);
        }
      },
      (error: unknown) => callback(error as NodeJS.ErrnoException, [], 0),
    );
  };
}

function refusedAddress(host: string, addresses: string): ConnectFailure {
  return new ConnectFailure(
    'address-refused',
    `${host} is at ${addresses || 'no address'}, which federation.allow_ranges does not permit`,
  );
}

function failureOf(error: unknown, target: Target, tlsServerName: string): ConnectFailure {
  if (error instanceof ConnectFailure) return error;
  const code = error instanceof Error ? (error as NodeJS.ErrnoException).code : undefined;
  const wrongName = code === 'ERR_TLS_CERT_ALTNAME_INVALID';
  const words = error instanceof Error ? error.message : String(error);
  const what = wrongName ? `its certificate is not for ${tlsServerName}` : words || code || 'no connection';
  return new ConnectFailure('unreachable', `${target.host} port ${target.port}: ${what}`, wrongName, { cause: error });
}

function connectTarget(target: Target, tlsServerName: string, settings: TlsSettings): Promise<TLSSocket> {
  return new Promise((resolve, reject) => {
    if (isIP(target.host) !== 0 && !settings.policy.allows(target.host)) {
      reject(refusedAddress(target.host, target.host));
      return;
    }
    const socket = connect({
      host: target.host,
      port: target.port,
      // RFC 6066 section 3: an IP address is not sent as a server name.
      servername: isIP(tlsServerName) === 0 ? tlsServerName : '',
      secureContext: settings.secureContext,
      rejectUnauthorized: settings.verifyCertificates,
      checkServerIdentity: (_host, certificate) => checkServerIdentity(tlsServerName, certificate),
      ALPNProtocols: ['http/1.1'],
      lookup: guardedLookup(settings),
    });
    const timer = setTimeout(() => {
      const what = `${target.host} port ${target.port}: no connection within ${settings.connectTimeoutMs} ms`;
      socket.destroy(new ConnectFailure('timeout', what));
    }, settings.connectTimeoutMs);
    socket.setNoDelay(true);
    socket.setKeepAlive(true, KEEP_ALIVE_DELAY_MS);
    socket.once('secureConnect', () => {
      clearTimeout(timer);
      resolve(socket);
    });
    // Stays for good: a connection that waits for its first request may be reset, which must not end the process.
    socket.on('error', (error) => {
      clearTimeout(timer);
      reject(failureOf(error, target, tlsServerName));
    });
    socket.once('close', () => {
      clearTimeout(timer);
      reject(failureOf(new Error('closed while connecting'), target, tlsServerName));
    });
  });
}

/** A verified connection to the first target that gives one. Rejects with the last target's ConnectFailure. */
export async function connectTls(
  server: Pick<ResolvedServer, 'targets' | 'tlsServerName'>,
  settings: TlsSettings,
): Promise<TLSSocket> {
  let failure = new ConnectFailure('unreachable', `${server.tlsServerName} has no address`);
  for (const target of server.targets) {
    try {
      return await connectTarget(target, server.tlsServerName, settings);
    } catch (error) {
      failure = failureOf(error, target, server.tlsServerName);
    }
  }
  throw failure;
}
