/**
 * From a server name to where its federation API listens: addresses to connect to in order, the name its certificate
 * must bear, and the Host header. The static `hosts` map comes before everything; then the specification's steps.
 *
 * DNS and the well-known lookup are arguments. What is found counts for a few minutes and is forgotten when connecting
 * fails. Specification v1.19, server-server API, "Resolving server names".
 */

import { LRUCache } from 'lru-cache';
import type { ServerName } from '../../kernel/matrix/ids.js';
import type { ServerNameParts } from './split-server-name.js';
import { splitServerName } from './split-server-name.js';
import type { StaticHosts } from './static-hosts.js';
import type { WellKnown } from './well-known.js';

/** The port of a server name without one. */
export const DEFAULT_PORT = 8448;
/** How long a discovered address counts, in milliseconds: SRV records are not asked again for each request. */
export const DISCOVERY_LIFETIME_MS = 5 * 60 * 1000;
/** Discovered servers remembered. */
export const DISCOVERY_ENTRIES_MAX = 20_000;
/** SRV targets tried for one connection; more than a handful is a trap, not a fleet. */
export const SRV_TARGETS_MAX = 8;

export interface Target {
  /** DNS name or IP address. */
  readonly host: string;
  readonly port: number;
}

export interface ResolvedServer {
  /** At least one, in the order to try. */
  readonly targets: readonly Target[];
  /** The name or IP address that the certificate must be for. */
  readonly tlsServerName: string;
  readonly hostHeader: string;
  /** The wildcard of `hosts` that led here: all names under it may share connections. */
  readonly wildcard: string | undefined;
}

export interface SrvRecord {
  readonly name: string;
  readonly port: number;
  readonly priority: number;
  readonly weight: number;
}

/** The SRV records of a name; an empty list where there are none. */
export type ResolveSrv = (name: string) => Promise<readonly SrvRecord[]>;

export class DiscoveryError extends Error {
  override readonly name = 'DiscoveryError';
}

export interface Discovery {
  /** Rejects with DiscoveryError for a name that cannot lead anywhere. */
  resolve(server: ServerName): Promise<ResolvedServer>;
  /** What was found does not answer: look again next time. */
  forget(server: ServerName): void;
}

export interface DiscoveryOptions {
  readonly hosts: StaticHosts;
  readonly wellKnown: WellKnown;
  readonly resolveSrv: ResolveSrv;
  readonly clock: () => number;
  readonly random: () => number;
}

/** RFC 2782: lower priorities first, within one priority a weighted random order. */
export function orderSrvRecords(records: readonly SrvRecord[], random: () => number): SrvRecord[] {
  const ordered: SrvRecord[] = [];
  const left = [...records].sort((a, b) => a.priority - b.priority || a.weight - b.weight);
  while (left.length > 0) {
    const priority = (left[0] as SrvRecord).priority;
    const group = left.filter((record) => record.priority === priority);
    const total = group.reduce((sum, record) => sum + record.weight, 0);
    let draw = random() * total;
    let chosen = group[0] as SrvRecord;
    for (const record of group) {
      chosen = record;
      draw -= record.weight;
      if (draw < 0) break;
    }
    ordered.push(chosen);
    left.splice(left.indexOf(chosen), 1);
  }
  return ordered;
}

function parts(name: string): ServerNameParts {
  const found = splitServerName(name);
  if (found === undefined) throw new DiscoveryError(`${name} has no valid host or port`);
  return found;
}

function answer(targets: readonly Target[], tlsServerName: string, hostHeader: string): ResolvedServer {
  return { targets, tlsServerName, hostHeader, wildcard: undefined };
}

/** Steps 3.3 to 3.5 for a delegate, 4 to 6 for the server itself: they are the same. */
async function resolveBySrv(name: string, hostname: string, options: DiscoveryOptions): Promise<ResolvedServer> {
  for (const service of ['_matrix-fed', '_matrix']) {
    // A resolver that fails on SRV is common; the address record may still answer.
    const records = await options.resolveSrv(`${service}._tcp.${hostname}`).catch((): readonly SrvRecord[] => []);
    if (records.length === 0) continue;
    const usable = records.filter((record) => record.name !== '' && record.name !== '.');
    if (usable.length === 0) throw new DiscoveryError(`the SRV record of ${hostname} says that there is no service`);
    const ordered = orderSrvRecords(usable, options.random).slice(0, SRV_TARGETS_MAX);
    return answer(
      ordered.map((record) => ({ host: record.name, port: record.port })),
      hostname,
      name,
    );
  }
  return answer([{ host: hostname, port: DEFAULT_PORT }], hostname, name);
}

async function discover(server: ServerName, options: DiscoveryOptions): Promise<ResolvedServer> {
  const own = parts(server);
  // Steps 1 and 2: an address or a port ends the search.
  if (own.isIpLiteral || own.port !== undefined) {
    return answer([{ host: own.hostname, port: own.port ?? DEFAULT_PORT }], own.hostname, server);
  }
  const delegate = await options.wellKnown.lookup(own.hostname);
  const delegateParts = delegate === undefined ? undefined : splitServerName(delegate);
  if (delegate === undefined || delegateParts === undefined) return resolveBySrv(server, own.hostname, options);
  if (delegateParts.isIpLiteral || delegateParts.port !== undefined) {
    const target = { host: delegateParts.hostname, port: delegateParts.port ?? DEFAULT_PORT };
    return answer([target], delegateParts.hostname, delegate);
  }
  return resolveBySrv(delegate, delegateParts.hostname, options);
}

/** Server discovery with its cache. */
export function createDiscovery(options: DiscoveryOptions): Discovery {
  const found = new LRUCache<ServerName, { readonly resolved: ResolvedServer; readonly expiresTs: number }>({
    max: DISCOVERY_ENTRIES_MAX,
  });
  const running = new Map<ServerName, Promise<ResolvedServer>>();
  return {
    resolve: async (server) => {
      const fixed = options.hosts(server);
      if (fixed !== undefined) {
        const { host, port, wildcard } = fixed;
        return { targets: [{ host, port }], tlsServerName: parts(server).hostname, hostHeader: server, wildcard };
      }
      const known = found.get(server);
      if (known !== undefined && options.clock() < known.expiresTs) return known.resolved;
      const pending = running.get(server);
      if (pending !== undefined) return pending;
      const started = discover(server, options)
        .then((resolved) => {
          found.set(server, { resolved, expiresTs: options.clock() + DISCOVERY_LIFETIME_MS });
          return resolved;
        })
        .finally(() => running.delete(server));
      running.set(server, started);
      return started;
    },
    forget: (server) => {
      found.delete(server);
    },
  };
}
