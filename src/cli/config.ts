/**
 * Reads and checks the configuration file: YAML, every key known, every value of its type, paths relative to the file.
 *
 * Guards: nothing runs with a mistyped or misplaced key. All problems are reported together, one line each, with file,
 * line, key and reason.
 */

import { readFileSync, statSync } from 'node:fs';
import { availableParallelism } from 'node:os';
import { dirname, resolve } from 'node:path';
import { type Document, isMap, isNode, isScalar, LineCounter, parseDocument } from 'yaml';
import type { z } from 'zod';
import type { ServerName } from '../kernel/matrix/ids.js';
import { configSchema } from './config-schema.js';

/** What a listener can serve. */
export type ServedApi = 'client' | 'federation' | 'admin';

export interface ListenerConfig {
  readonly bind: string;
  readonly port: number;
  readonly serve: readonly ServedApi[];
  /** Absolute paths of PEM files. */
  readonly tls?: { readonly cert: string; readonly key: string };
}

export interface FederationConfig {
  /** Absolute path of a PEM file with trust anchors beside the system's. */
  readonly caFile?: string;
  readonly verifyCertificates: boolean;
  /** CIDR ranges among the private ones that may be connected to. */
  readonly allowRanges: readonly string[];
  /** `host:port` by server name, or by `*.suffix`. */
  readonly hosts: Readonly<Record<string, string>>;
  /** Notary servers. */
  readonly keyServers: readonly ServerName[];
  /** Join with partial state; false asks for the full state before a join is answered. */
  readonly partialJoins: boolean;
}

export type LogLevel = 'fatal' | 'error' | 'warn' | 'info' | 'debug' | 'trace' | 'silent';

/** A checked configuration; all paths are absolute. */
export interface Config {
  readonly serverName: ServerName;
  readonly dataDir: string;
  readonly signingKeyPath: string;
  readonly defaultRoomVersion: string;
  readonly listeners: readonly ListenerConfig[];
  readonly federation: FederationConfig;
  readonly registration: { readonly enabled: boolean };
  /** Present whenever a listener serves `admin`. */
  readonly admin?: { readonly tokenFile: string };
  readonly workers: { readonly threads: number };
  readonly log: { readonly level: LogLevel };
}

/** A configuration that cannot be used: the message has one line per problem. */
export class ConfigError extends Error {
  override readonly name = 'ConfigError';
  /** Each `file:line: key: reason`. */
  readonly problems: readonly string[];

  constructor(problems: readonly string[], options?: ErrorOptions) {
    super(problems.join('\n'), options);
    this.problems = problems;
  }
}

/** Far above any real configuration (thousands of `hosts`); a wrong path must not read a database into memory. */
export const CONFIG_FILE_BYTES_MAX = 1024 * 1024;

/**
 * The configuration in `file`.
 *
 * @throws ConfigError
 */
export function loadConfig(file: string): Config {
  return parseConfig(readConfigText(file), file);
}

function readConfigText(file: string): string {
  try {
    const { size } = statSync(file);
    if (size > CONFIG_FILE_BYTES_MAX) throw new Error(`it has more than ${CONFIG_FILE_BYTES_MAX} bytes`);
    return readFileSync(file, 'utf8');
  } catch (cause) {
    const reason = cause instanceof Error ? cause.message : String(cause);
    const remedy = '`joinery generate` writes a working one';
    throw new ConfigError([`${file}: the configuration cannot be read: ${reason}; ${remedy}`], { cause });
  }
}

/**
 * The configuration in `text`; `file` names it in errors, and relative paths are relative to its folder.
 *
 * @throws ConfigError
 */
export function parseConfig(text: string, file: string): Config {
  const lines = new LineCounter();
  const document = parseDocument(text, { lineCounter: lines, prettyErrors: false });
  const faults = [...document.errors, ...document.warnings];
  if (faults.length > 0) {
    throw new ConfigError(
      faults.map((fault) => `${file}:${lines.linePos(fault.pos[0]).line}: not valid YAML: ${fault.message}`),
      { cause: faults[0] },
    );
  }
  const checked = configSchema.safeParse(plainValue(document, file), { reportInput: true });
  if (checked.success) return withAbsolutePaths(checked.data, dirname(resolve(file)));
  throw new ConfigError(
    checked.error.issues.flatMap((issue) => describeIssue(issue, document, lines, file)),
    { cause: checked.error },
  );
}

/** The document as plain values. Too many aliases (a "billion laughs") are refused here. */
function plainValue(document: Document, file: string): unknown {
  try {
    return document.toJS() as unknown;
  } catch (cause) {
    throw new ConfigError([`${file}: not usable YAML: ${cause instanceof Error ? cause.message : String(cause)}`], {
      cause,
    });
  }
}

type Issue = z.core.$ZodIssue;
type Path = readonly PropertyKey[];

function describeIssue(issue: Issue, document: Document, lines: LineCounter, file: string): string[] {
  const at = (path: Path, reason: string): string => {
    const line = lineOf(document, lines, path);
    const key = path.length === 0 ? '' : `${path.map(String).join('.')}: `;
    return `${file}${line === undefined ? '' : `:${line}`}: ${key}${reason}`;
  };
  if (issue.code === 'unrecognized_keys') return issue.keys.map((key) => at([...issue.path, key], 'unknown key'));
  if (issue.code === 'invalid_key') {
    return issue.issues.map((inner) => at(issue.path, inner.message));
  }
  if (issue.code === 'invalid_type' && issue.input === undefined) {
    const missing = document.hasIn([...issue.path]) ? `expected ${issue.expected}` : 'is required';
    return [at(issue.path, missing)];
  }
  return [at(issue.path, issue.message)];
}

/** Line of the key at `path`, or of the nearest thing around it. */
function lineOf(document: Document, lines: LineCounter, path: Path): number | undefined {
  const last = path.at(-1);
  const parent: unknown = path.length === 0 ? document.contents : document.getIn(path.slice(0, -1), true);
  if (isMap(parent) && last !== undefined) {
    const pair = parent.items.find(({ key }) => isScalar(key) && String(key.value) === String(last));
    if (isNode(pair?.key) && pair.key.range) return lines.linePos(pair.key.range[0]).line;
  }
  const node: unknown = document.getIn([...path], true);
  if (isNode(node) && node.range) return lines.linePos(node.range[0]).line;
  return path.length === 0 ? undefined : lineOf(document, lines, path.slice(0, -1));
}

function withAbsolutePaths(raw: z.output<typeof configSchema>, folder: string): Config {
  const absolute = (path: string): string => resolve(folder, path);
  const { federation } = raw;
  return {
    serverName: raw.server_name,
    dataDir: absolute(raw.data_dir),
    signingKeyPath: absolute(raw.signing_key_path),
    defaultRoomVersion: raw.default_room_version,
    listeners: raw.listeners.map(({ bind, port, serve, tls }) => ({
      bind,
      port,
      serve,
      ...(tls === undefined ? {} : { tls: { cert: absolute(tls.cert), key: absolute(tls.key) } }),
    })),
    federation: {
      ...(federation.ca_file === undefined ? {} : { caFile: absolute(federation.ca_file) }),
      verifyCertificates: federation.verify_certificates,
      allowRanges: federation.allow_ranges,
      hosts: federation.hosts,
      keyServers: federation.key_servers,
      partialJoins: federation.partial_joins,
    },
    registration: raw.registration,
    ...(raw.admin === undefined ? {} : { admin: { tokenFile: absolute(raw.admin.token_file) } }),
    workers: { threads: raw.workers.threads ?? availableParallelism() },
    log: raw.log,
  };
}
