/**
 * `joinery generate`: writes a configuration that works, with a new signing key, admin token and TLS certificate.
 *
 * Guards: no existing file is ever overwritten, and secrets are readable by their owner only from their first byte on.
 */

import { randomBytes, randomInt } from 'node:crypto';
import { access, mkdir, writeFile } from 'node:fs/promises';
import { isIP } from 'node:net';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { parseServerName, type ServerName } from '../kernel/matrix/ids.js';
import { DEFAULT_ROOM_VERSION } from './config-schema.js';
import { type CertificatePair, makeCertificate } from './make-certificate.js';
import { UsageError } from './usage-error.js';

/** The keys of the configuration's `federation` section that a generated file may set. */
export interface GeneratedFederation {
  readonly verifyCertificates?: boolean;
  readonly allowRanges?: readonly string[];
  readonly hosts?: Readonly<Record<string, string>>;
  readonly keyServers?: readonly string[];
}

export interface GenerateOptions {
  readonly serverName: string;
  /** Made when missing. */
  readonly dir: string;
  /** Address of both listeners; default 127.0.0.1. */
  readonly bind?: string;
  /** Default 8008; 0 takes a free one at each start. */
  readonly clientPort?: number;
  /** Default 8448. */
  readonly federationPort?: number;
  readonly defaultRoomVersion?: string;
  /** Default true: the listeners are on loopback, and without an account nothing can be tried. */
  readonly registrationEnabled?: boolean;
  /** Default: left out, all cores. */
  readonly threads?: number;
  readonly federation?: GeneratedFederation;
  /** Further DNS names (wildcards too) and IP addresses of the certificate. */
  readonly altNames?: readonly string[];
  /** Signs the certificate and becomes `federation.ca_file`; without it the certificate is self-signed. */
  readonly ca?: CertificatePair;
}

export interface GeneratedFiles {
  readonly config: string;
  readonly signingKey: string;
  readonly adminToken: string;
  readonly tlsCert: string;
  readonly tlsKey: string;
  /** Only with `ca`. */
  readonly caCert?: string;
}

/** The generator refused: the message names the files in its way. */
export class GenerateError extends Error {
  override readonly name = 'GenerateError';
}

const SEED_BYTES = 32;
/** 256 bits: nobody types it. */
const ADMIN_TOKEN_BYTES = 32;
const KEY_VERSION_LETTERS = 4;
const OWNER_ONLY = 0o600;
const FOR_ALL = 0o644;
const DEFAULT_BIND = '127.0.0.1';
const DEFAULT_CLIENT_PORT = 8008;
const DEFAULT_FEDERATION_PORT = 8448;

/**
 * Writes the files of a new server into `dir` and returns their paths.
 *
 * @throws GenerateError when one of them exists; then none is written
 */
export async function generate(options: GenerateOptions): Promise<GeneratedFiles> {
  const serverName = parseServerName(options.serverName);
  if (serverName === undefined) {
    throw new UsageError(`${JSON.stringify(options.serverName)} is not a server name (host or host:port)`);
  }
  const file = (name: string): string => join(options.dir, name);
  const files: GeneratedFiles = {
    config: file('joinery.yaml'),
    signingKey: file('signing.key'),
    adminToken: file('admin.token'),
    tlsCert: file('tls.crt'),
    tlsKey: file('tls.key'),
    ...(options.ca === undefined ? {} : { caCert: file('ca.crt') }),
  };
  await refuseExisting(Object.values(files));
  const host = hostOf(serverName);
  const certificate = await makeCertificate({
    commonName: host,
    altNames: [host, 'localhost', '127.0.0.1', ...(options.altNames ?? [])],
    ...(options.ca === undefined ? {} : { ca: options.ca }),
  });
  await mkdir(options.dir, { recursive: true });
  const seed = randomBytes(SEED_BYTES).toString('base64').replace(/=+$/, '');
  await write(files.signingKey, `ed25519 a_${randomLetters(KEY_VERSION_LETTERS)} ${seed}\n`, OWNER_ONLY);
  await write(files.adminToken, `${randomBytes(ADMIN_TOKEN_BYTES).toString('base64url')}\n`, OWNER_ONLY);
  await write(files.tlsKey, certificate.key, OWNER_ONLY);
  await write(files.tlsCert, withLineEnd(certificate.cert), FOR_ALL);
  if (options.ca !== undefined && files.caCert !== undefined) {
    await write(files.caCert, withLineEnd(options.ca.cert), FOR_ALL);
  }
  await write(files.config, configText(serverName, options), FOR_ALL);
  return files;
}

async function refuseExisting(files: readonly string[]): Promise<void> {
  const existing: string[] = [];
  for (const file of files) {
    const exists = await access(file).then(
      () => true,
      () => false,
    );
    if (exists) existing.push(file);
  }
  if (existing.length === 0) return;
  throw new GenerateError(
    `Will not overwrite ${existing.join(', ')}. Choose another --dir, or move these away if they are not needed.`,
  );
}

/** `wx`: fails where another process made the file since it was looked for. */
async function write(file: string, text: string, mode: number): Promise<void> {
  await writeFile(file, text, { flag: 'wx', mode });
}

/** The server name without its port; an IPv6 literal without its brackets. */
function hostOf(serverName: ServerName): string {
  const host = serverName.replace(/:\d+$/, '');
  const address = host.replace(/^\[(.*)\]$/, '$1');
  return isIP(address) === 0 ? host : address;
}

function randomLetters(count: number): string {
  return Array.from({ length: count }, () => String.fromCharCode(97 + randomInt(26))).join('');
}

function withLineEnd(pem: string): string {
  return pem.endsWith('\n') ? pem : `${pem}\n`;
}

/** JSON is YAML: strings quoted, lists and maps in one line. */
function yaml(value: unknown): string {
  return JSON.stringify(value);
}

function configText(serverName: ServerName, options: GenerateOptions): string {
  const federation = options.federation ?? {};
  const bind = options.bind ?? DEFAULT_BIND;
  const client = { bind, port: options.clientPort ?? DEFAULT_CLIENT_PORT, serve: ['client', 'admin'] };
  const server = {
    bind,
    port: options.federationPort ?? DEFAULT_FEDERATION_PORT,
    serve: ['federation'],
    tls: { cert: './tls.crt', key: './tls.key' },
  };
  const caFile = options.ca === undefined ? '  # ca_file: ./ca.crt' : '  ca_file: ./ca.crt';
  const workers = `${options.threads === undefined ? '# ' : ''}workers: { threads: ${options.threads ?? 2} }`;
  return `# Joinery's configuration. Paths are relative to this file. Unknown keys are errors.

# The part after the colon in user IDs. It cannot be changed once there are users or rooms.
server_name: ${yaml(serverName)}

# Events, state, keys, users and tokens.
data_dir: ./data

# What this server signs with. Whoever has it can speak in this server's name.
signing_key_path: ./signing.key

# Version of rooms that are made here, unless the client names one. In quotes: versions are not numbers.
default_room_version: ${yaml(options.defaultRoomVersion ?? DEFAULT_ROOM_VERSION)}

# serve: any of client, federation, admin. Port 0 takes a free port, printed at start.
# Without tls a listener speaks plain HTTP: only on loopback, or behind a proxy that does the TLS.
listeners:
  - ${yaml(client)}
  - ${yaml(server)}

federation:
  # PEM file with certificate authorities to trust beside the system's.
${caFile}
  # false accepts any certificate: never outside of a test.
  verify_certificates: ${yaml(federation.verifyCertificates ?? true)}
  # Private address ranges are refused unless listed here, such as 127.0.0.0/8.
  allow_ranges: ${yaml(federation.allowRanges ?? [])}
  # host:port of servers in a closed network, by name or "*.suffix"; asked before any discovery.
  hosts: ${yaml(federation.hosts ?? {})}
  # Servers that are asked for other servers' signing keys (notaries).
  key_servers: ${yaml(federation.keyServers ?? [])}

# Whether anyone who reaches the client listener may make an account. Turn it off before others can reach it.
registration: { enabled: ${yaml(options.registrationEnabled ?? true)} }

# Bearer token of the admin API.
admin: { token_file: ./admin.token }

# Threads that verify signatures and check events. Default: all cores.
${workers}

# fatal, error, warn, info, debug, trace or silent.
log: { level: info }
`;
}

/** `joinery generate --server-name NAME --dir DIR`. */
export async function runGenerate(argv: readonly string[], print: (text: string) => void): Promise<void> {
  const { values } = parseArgs({
    args: [...argv],
    options: { 'server-name': { type: 'string' }, dir: { type: 'string' } },
    strict: true,
  });
  const { 'server-name': serverName, dir } = values;
  if (serverName === undefined || dir === undefined) {
    throw new UsageError('generate needs --server-name NAME and --dir DIR');
  }
  const files = await generate({ serverName, dir });
  print(`${Object.values(files).join('\n')}\nStart it with: joinery serve --config ${files.config}\n`);
}
