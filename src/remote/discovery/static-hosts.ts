/**
 * The operator's static answers for server names: an exact name, or `*.suffix` for every name below a suffix. They
 * replace every lookup; certificates are still checked for the server name.
 */

import { splitServerName } from './split-server-name.js';

export interface StaticHost {
  /** DNS name or IP address without brackets. */
  readonly host: string;
  readonly port: number;
  /** The `*.suffix` that matched: names under it lead to one place and may share connections. */
  readonly wildcard: string | undefined;
}

export type StaticHosts = (server: string) => StaticHost | undefined;

function parseHost(name: string, value: string): { host: string; port: number } {
  const parts = splitServerName(value);
  if (parts?.port === undefined) {
    throw new Error(`hosts: ${JSON.stringify(name)} must name a host and port such as 127.0.0.1:8448, not ${value}`);
  }
  return { host: parts.hostname, port: parts.port };
}

/** A lookup over `hosts`: the exact name first, then the longest suffix. Throws on a value that is not `host:port`. */
export function createStaticHosts(hosts: Readonly<Record<string, string>>): StaticHosts {
  const exact = new Map<string, StaticHost>();
  const bySuffix = new Map<string, StaticHost>();
  for (const [name, value] of Object.entries(hosts)) {
    const target = parseHost(name, value);
    if (name.startsWith('*.')) bySuffix.set(name.slice(1).toLowerCase(), { ...target, wildcard: name });
    else exact.set(name.toLowerCase(), { ...target, wildcard: undefined });
  }
  return (server) => {
    const name = server.toLowerCase();
    const found = exact.get(name);
    if (found !== undefined || bySuffix.size === 0) return found;
    // A name with a port is another server than the one without: only the suffix `.example.org:8449` could mean it.
    for (let dot = name.indexOf('.'); dot >= 0; dot = name.indexOf('.', dot + 1)) {
      const host = bySuffix.get(name.slice(dot));
      if (host !== undefined) return host;
    }
    return undefined;
  };
}
