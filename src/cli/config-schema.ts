/**
 * The configuration's shape: which keys there are, their types, bounds and defaults. Strict everywhere: a key that is
 * not named here is an error. Messages are one line and say what was expected.
 */

import ipaddr from 'ipaddr.js';
import { z } from 'zod';
import { parseServerName, type ServerName } from '../kernel/matrix/ids.js';
import { ROOM_VERSIONS } from '../kernel/matrix/room-versions.js';

/** A process serves at most three APIs, on a few addresses each. */
const LISTENERS_MAX = 16;
/** Every thread is a V8 heap of its own; more than any machine's cores is a typing error. */
const THREADS_MAX = 1024;
const PORT_MAX = 65_535;
/** New rooms get this version unless the client names one: the reference homeserver's default (the specification v1.19 recommends 12). */
export const DEFAULT_ROOM_VERSION = '11';

const path = z.string().min(1, 'expected a path');

const serverName = z.string().transform((text, context): ServerName => {
  const name = parseServerName(text);
  if (name !== undefined) return name;
  context.addIssue({ code: 'custom', message: `${JSON.stringify(text)} is not a server name (host or host:port)` });
  return z.NEVER;
});

/** A whole number within bounds, with one message for every way not to be one. */
function wholeNumber(what: string, min: number, max: number): z.ZodInt {
  const message = `expected ${what}, ${min} to ${max}`;
  return z.int(message).min(min, message).max(max, message);
}

const port = wholeNumber('a port', 0, PORT_MAX);

const roomVersion = z
  .string({ error: 'expected a room version in quotes, such as "11"' })
  .refine((version) => ROOM_VERSIONS.includes(version), { error: `expected one of ${ROOM_VERSIONS.join(', ')}` });

const listener = z.strictObject({
  bind: z.string().min(1, 'expected an address'),
  port,
  serve: z
    .array(z.enum(['client', 'federation', 'admin']))
    .min(1, 'expected at least one of client, federation, admin')
    .refine((served) => new Set(served).size === served.length, { error: 'names an API twice' }),
  tls: z.strictObject({ cert: path, key: path }).optional(),
});

const listeners = z
  .array(listener)
  .min(1, 'expected at least one listener')
  .max(LISTENERS_MAX, `expected at most ${LISTENERS_MAX} listeners`)
  .superRefine((all, context) => {
    const taken = new Set<string>();
    for (const [index, { bind, port: number }] of all.entries()) {
      const address = `${bind} port ${number}`;
      if (number !== 0 && taken.has(address)) {
        context.addIssue({ code: 'custom', path: [index, 'port'], message: `${address} is taken by a listener above` });
      }
      taken.add(address);
    }
  });

const DOTTED_QUAD = /^\d{1,3}(\.\d{1,3}){3}\//;

const cidr = z.string().refine((text) => (DOTTED_QUAD.test(text) || text.includes(':')) && ipaddr.isValidCIDR(text), {
  error: (issue) => `${JSON.stringify(issue.input)} is not a range in CIDR form, such as 127.0.0.0/8 or fd00::/8`,
});

/** A server name, or `*.` and a suffix. */
function isHostsName(text: string): boolean {
  return parseServerName(text.startsWith('*.') ? text.slice(2) : text) !== undefined;
}

function isHostAndPort(text: string): boolean {
  const portText = /:(\d+)$/.exec(text)?.[1];
  if (portText === undefined || parseServerName(text) === undefined) return false;
  return Number(portText) >= 1 && Number(portText) <= PORT_MAX;
}

const hosts = z.record(z.string(), z.string()).superRefine((map, context) => {
  for (const [name, target] of Object.entries(map)) {
    if (!isHostsName(name)) {
      context.addIssue({ code: 'custom', path: [name], message: 'the key is not a server name or *.suffix' });
    }
    if (!isHostAndPort(target)) {
      const message = `${JSON.stringify(target)} is not host:port with a port from 1 to ${PORT_MAX}`;
      context.addIssue({ code: 'custom', path: [name], message });
    }
  }
});

const federation = z.strictObject({
  ca_file: path.optional(),
  verify_certificates: z.boolean().default(true),
  allow_ranges: z.array(cidr).default([]),
  hosts: hosts.default({}),
  key_servers: z.array(serverName).default([]),
  partial_joins: z.boolean().default(true),
});

/** The configuration as it stands in the file, with defaults filled in. */
export const configSchema = z
  .strictObject({
    server_name: serverName,
    data_dir: path,
    signing_key_path: path,
    default_room_version: roomVersion.default(DEFAULT_ROOM_VERSION),
    listeners,
    federation: federation.prefault({}),
    registration: z.strictObject({ enabled: z.boolean().default(false) }).prefault({}),
    admin: z.strictObject({ token_file: path }).optional(),
    workers: z
      .strictObject({
        threads: wholeNumber('a number of threads', 1, THREADS_MAX).optional(),
      })
      .prefault({}),
    log: z
      .strictObject({ level: z.enum(['fatal', 'error', 'warn', 'info', 'debug', 'trace', 'silent']).default('info') })
      .prefault({}),
  })
  .superRefine((config, context) => {
    const servesAdmin = config.listeners.some(({ serve }) => serve.includes('admin'));
    if (!servesAdmin || config.admin !== undefined) return;
    const message = 'is required, with token_file, because a listener serves admin';
    context.addIssue({ code: 'custom', path: ['admin'], message });
  });
