/**
 * A server name in its parts: host without brackets, port when stated.
 * Specification v1.19, appendices, "Server Name".
 */

import { isIP } from 'node:net';

export interface ServerNameParts {
  /** DNS name, or an IP address without brackets. */
  readonly hostname: string;
  /** Undefined when the name has none. */
  readonly port: number | undefined;
  readonly isIpLiteral: boolean;
}

const PARTS = /^(?:\[([0-9A-Fa-f:.]+)\]|([^:[\]]+))(?::([0-9]{1,5}))?$/;
const PORT_MAX = 65_535;

/** The parts, or undefined where a port is out of range or brackets hold no IPv6 address. */
export function splitServerName(server: string): ServerNameParts | undefined {
  const match = PARTS.exec(server);
  if (match === null) return undefined;
  const hostname = (match[1] ?? match[2]) as string;
  if (match[1] !== undefined && isIP(hostname) !== 6) return undefined;
  const port = match[3] === undefined ? undefined : Number(match[3]);
  if (port !== undefined && (port < 1 || port > PORT_MAX)) return undefined;
  return { hostname, port, isIpLiteral: isIP(hostname) !== 0 };
}
