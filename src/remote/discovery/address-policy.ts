/**
 * Which IP addresses we may connect to. Anybody can make us ask a server name of their choice, so names must not lead
 * into the operator's own network: only ordinary public unicast is allowed, and what `allowRanges` lists.
 *
 * Checked on the resolved address at the moment of connecting, so a name that resolves differently the second time
 * gains nothing. Specification v1.19, server-server API, "Security considerations"; RFC 6890.
 */

import ipaddr from 'ipaddr.js';

export interface AddressPolicy {
  /** Whether we may connect to this IP address (text, v4 or v6, zone IDs refused). */
  allows(address: string): boolean;
}

type Address = ipaddr.IPv4 | ipaddr.IPv6;

function parseRange(text: string): [Address, number] {
  try {
    if (text.includes('/')) return ipaddr.parseCIDR(text);
    const address = ipaddr.parse(text);
    return [address, address.kind() === 'ipv4' ? 32 : 128];
  } catch (error) {
    throw new Error(`allow_ranges: ${JSON.stringify(text)} is not an address range such as 10.0.0.0/8 or fd00::/8`, {
      cause: error,
    });
  }
}

/** The policy that refuses every special-purpose range but `allowRanges` (CIDRs or single addresses). Throws on a bad range. */
export function createAddressPolicy(allowRanges: readonly string[]): AddressPolicy {
  const allowed = allowRanges.map(parseRange);
  return {
    allows: (text) => {
      if (!ipaddr.isValid(text) || text.includes('%')) return false;
      // An IPv4 address written as IPv6 reaches the IPv4 host, so it is judged as what it is.
      const address = ipaddr.process(text);
      const inAllowed = allowed.some(
        ([range, bits]) => range.kind() === address.kind() && address.match(range as never, bits),
      );
      // "unicast" is ipaddr.js's word for everything outside the registries of special-purpose addresses.
      return inAllowed || address.range() === 'unicast';
    },
  };
}
