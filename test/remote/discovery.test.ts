import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { ServerName } from '../../src/kernel/matrix/ids.js';
import { backOffMs, DESTINATION_BACK_OFF, nextTryTs } from '../../src/remote/back-off.js';
import { createAddressPolicy } from '../../src/remote/discovery/address-policy.js';
import { createDiscovery, orderSrvRecords, type SrvRecord } from '../../src/remote/discovery/discovery.js';
import { splitServerName } from '../../src/remote/discovery/split-server-name.js';
import { createStaticHosts } from '../../src/remote/discovery/static-hosts.js';
import {
  cacheLifetimeMs,
  createWellKnown,
  type HttpsAnswer,
  WELL_KNOWN_BYTES_MAX,
  WELL_KNOWN_DEFAULT_MS,
  WELL_KNOWN_MAX_MS,
  WELL_KNOWN_MIN_MS,
  WELL_KNOWN_REDIRECTS_MAX,
} from '../../src/remote/discovery/well-known.js';

interface World {
  readonly wellKnown?: Readonly<Record<string, Partial<HttpsAnswer> | string>>;
  readonly srv?: Readonly<Record<string, readonly SrvRecord[]>>;
  readonly hosts?: Readonly<Record<string, string>>;
}

function discoveryIn(world: World) {
  const asked: string[] = [];
  const state = { now: 1_000_000, world };
  const clock = (): number => state.now;
  const random = (): number => 0.5;
  const wellKnown = createWellKnown(
    async (url, bodyBytesMax) => {
      asked.push(url.href);
      expect(bodyBytesMax).toBe(WELL_KNOWN_BYTES_MAX);
      const answer = state.world.wellKnown?.[url.hostname];
      if (answer === undefined) throw new Error('ECONNREFUSED');
      const base = { status: 200, cacheControl: undefined, location: undefined, body: '' };
      return typeof answer === 'string' ? { ...base, body: answer } : { ...base, ...answer };
    },
    clock,
    random,
  );
  const discovery = createDiscovery({
    hosts: createStaticHosts(world.hosts ?? {}),
    wellKnown,
    resolveSrv: async (name) => {
      asked.push(name);
      const records = state.world.srv?.[name];
      if (records === undefined && name.includes('broken')) throw new Error('SERVFAIL');
      return records ?? [];
    },
    clock,
    random,
  });
  return { asked, state, discovery, resolve: (name: string) => discovery.resolve(name as ServerName) };
}

const delegation = (to: string): string => JSON.stringify({ 'm.server': to });
const record = (name: string, port: number, priority = 10, weight = 5): SrvRecord => ({ name, port, priority, weight });

describe('resolving server names', () => {
  it('step 1: an IP literal is used with its port or 8448, without any lookup', async () => {
    const { resolve, asked } = discoveryIn({});
    expect(await resolve('198.51.100.7')).toEqual({
      targets: [{ host: '198.51.100.7', port: 8448 }],
      tlsServerName: '198.51.100.7',
      hostHeader: '198.51.100.7',
      wildcard: undefined,
    });
    expect(await resolve('[2001:db8::1]:99')).toMatchObject({
      targets: [{ host: '2001:db8::1', port: 99 }],
      tlsServerName: '2001:db8::1',
      hostHeader: '[2001:db8::1]:99',
    });
    expect(asked).toEqual([]);
  });

  it('step 2: an explicit port is used without any lookup of delegation', async () => {
    const { resolve, asked } = discoveryIn({ wellKnown: { 'a.org': delegation('b.org') } });
    expect(await resolve('a.org:443')).toMatchObject({
      targets: [{ host: 'a.org', port: 443 }],
      tlsServerName: 'a.org',
      hostHeader: 'a.org:443',
    });
    expect(asked).toEqual([]);
  });

  it('step 3.1 and 3.2: a delegate with an address or a port is used as it is', async () => {
    const { resolve } = discoveryIn({
      wellKnown: { 'a.org': delegation('198.51.100.7'), 'b.org': delegation('m.b.org:444') },
    });
    expect(await resolve('a.org')).toMatchObject({
      targets: [{ host: '198.51.100.7', port: 8448 }],
      tlsServerName: '198.51.100.7',
      hostHeader: '198.51.100.7',
    });
    expect(await resolve('b.org')).toMatchObject({
      targets: [{ host: 'm.b.org', port: 444 }],
      tlsServerName: 'm.b.org',
      hostHeader: 'm.b.org:444',
    });
  });

  it('step 3.3 to 3.5: SRV records of the delegate, the new service before the old, then port 8448', async () => {
    const wellKnown = {
      'a.org': delegation('m.a.org'),
      'b.org': delegation('m.b.org'),
      'c.org': delegation('m.c.org'),
    };
    const srv = {
      '_matrix-fed._tcp.m.a.org': [record('x.a.org', 1)],
      '_matrix._tcp.m.a.org': [record('y.a.org', 2)],
      '_matrix._tcp.m.b.org': [record('y.b.org', 2)],
    };
    const { resolve } = discoveryIn({ wellKnown, srv });
    const names = { tlsServerName: 'm.a.org', hostHeader: 'm.a.org' };
    expect(await resolve('a.org')).toMatchObject({ targets: [{ host: 'x.a.org', port: 1 }], ...names });
    expect(await resolve('b.org')).toMatchObject({ targets: [{ host: 'y.b.org', port: 2 }] });
    expect(await resolve('c.org')).toMatchObject({ targets: [{ host: 'm.c.org', port: 8448 }] });
  });

  it('steps 4 to 6: without delegation the SRV records of the name itself, then port 8448', async () => {
    const srv = { '_matrix-fed._tcp.a.org': [record('x.a.org', 1)], '_matrix._tcp.b.org': [record('y.b.org', 2)] };
    const { resolve } = discoveryIn({ srv });
    expect(await resolve('a.org')).toMatchObject({ targets: [{ host: 'x.a.org', port: 1 }], tlsServerName: 'a.org' });
    expect(await resolve('b.org')).toMatchObject({ targets: [{ host: 'y.b.org', port: 2 }], hostHeader: 'b.org' });
    expect(await resolve('broken.org')).toMatchObject({ targets: [{ host: 'broken.org', port: 8448 }] });
  });

  it.each([
    ['not JSON', 'm.server'],
    ['without m.server', '{}'],
    ['with a bad name', delegation('not a name')],
    ['with a bad port', delegation('b.org:99999')],
    ['with an error status', { status: 404, body: delegation('b.org') }],
    ['that redirects to http', { status: 301, location: 'http://b.org/' }],
  ])('a .well-known answer %s is skipped', async (_what, answer) => {
    const { resolve } = discoveryIn({ wellKnown: { 'a.org': answer, 'b.org': delegation('c.org') } });
    expect((await resolve('a.org')).tlsServerName).toBe('a.org');
  });

  it('redirects of .well-known are followed, loops are not', async () => {
    const { resolve, asked } = discoveryIn({
      wellKnown: {
        'a.org': { status: 302, location: 'https://w.org/somewhere' },
        'w.org': delegation('m.a.org:1'),
        'loop.org': { status: 302, location: '/again' },
      },
    });
    expect((await resolve('a.org')).hostHeader).toBe('m.a.org:1');
    expect((await resolve('loop.org')).hostHeader).toBe('loop.org');
    expect(asked.filter((url) => url.startsWith('https://loop.org/'))).toHaveLength(WELL_KNOWN_REDIRECTS_MAX + 1);
  });

  it('answers are cached as their headers say, within bounds, and concurrent questions are one', async () => {
    const cacheControl = 'public, max-age=7200';
    const { resolve, asked, state, discovery } = discoveryIn({
      wellKnown: { 'a.org': { body: delegation('b.org:1'), cacheControl } },
    });
    await Promise.all([resolve('a.org'), resolve('a.org')]);
    expect(asked).toHaveLength(1);
    state.now += 7_199_000;
    discovery.forget('a.org' as ServerName);
    await resolve('a.org');
    expect(asked).toHaveLength(1);
    state.now += 2_000;
    discovery.forget('a.org' as ServerName);
    await resolve('a.org');
    expect(asked).toHaveLength(2);
    expect(cacheLifetimeMs(undefined)).toBe(WELL_KNOWN_DEFAULT_MS);
    expect(cacheLifetimeMs('max-age=999999999')).toBe(WELL_KNOWN_MAX_MS);
    expect(cacheLifetimeMs('max-age=0')).toBe(WELL_KNOWN_MIN_MS);
    expect(cacheLifetimeMs('no-store')).toBe(WELL_KNOWN_MIN_MS);
  });

  it('failures are cached, longer each time up to an hour, and a delegation survives a short outage', async () => {
    const { resolve, asked, state } = discoveryIn({ wellKnown: { 'a.org': delegation('b.org:1') } });
    await resolve('a.org');
    state.world = {};
    state.now += WELL_KNOWN_DEFAULT_MS + 1;
    expect((await resolve('a.org')).hostHeader).toBe('b.org:1');
    state.now += WELL_KNOWN_MAX_MS;
    expect((await resolve('a.org')).hostHeader).toBe('a.org');
    const before = asked.filter((what) => what.startsWith('https')).length;
    for (let minute = 0; minute < 24 * 60; minute += 6) {
      state.now += 6 * 60_000;
      await resolve('a.org');
    }
    const lookups = asked.filter((what) => what.startsWith('https')).length - before;
    expect(lookups).toBeGreaterThanOrEqual(22);
    expect(lookups).toBeLessThanOrEqual(28);
  });

  it('an SRV record that says there is no service is an error', async () => {
    const { resolve } = discoveryIn({ srv: { '_matrix-fed._tcp.a.org': [record('.', 0)] } });
    await expect(resolve('a.org')).rejects.toThrow('no service');
    await expect(resolve('a.org:0')).rejects.toThrow('no valid host or port');
  });

  it('SRV records are tried by priority, and by chance in proportion to their weight within one', () => {
    const records = [record('c', 3, 20, 1), record('a', 1, 10, 90), record('b', 2, 10, 10)];
    const first = Array.from({ length: 100 }, (_, i) =>
      orderSrvRecords(records, () => i / 100).map(({ name }) => name),
    );
    expect(first.filter(([name]) => name === 'a')).toHaveLength(90);
    expect(first.every((names) => names[2] === 'c')).toBe(true);
    expect(orderSrvRecords([record('z', 1, 0, 0)], () => 0.99)).toHaveLength(1);
  });
});

describe('the static hosts map', () => {
  it('comes first: the exact name, then the longest suffix, and no lookup', async () => {
    const { resolve, asked } = discoveryIn({
      hosts: { 'a.hq.test': '127.0.0.1:1', '*.hq.test': '127.0.0.1:2', '*.x.hq.test': '[::1]:3', hs2: 'other.test:4' },
    });
    expect((await resolve('A.hq.test')).targets).toEqual([{ host: '127.0.0.1', port: 1 }]);
    expect(await resolve('b.hq.test')).toEqual({
      targets: [{ host: '127.0.0.1', port: 2 }],
      tlsServerName: 'b.hq.test',
      hostHeader: 'b.hq.test',
      wildcard: '*.hq.test',
    });
    expect((await resolve('c.x.hq.test')).targets).toEqual([{ host: '::1', port: 3 }]);
    expect(await resolve('hs2')).toMatchObject({ targets: [{ host: 'other.test', port: 4 }], tlsServerName: 'hs2' });
    expect((await resolve('hq.test')).targets).toEqual([{ host: 'hq.test', port: 8448 }]);
    expect(asked.filter((what) => !what.includes('//hq.test') && !what.endsWith('.hq.test'))).toEqual([]);
    expect(() => createStaticHosts({ a: 'b.org' })).toThrow('host and port');
  });

  it('splits server names as the grammar says', () => {
    expect(splitServerName('a.org')).toEqual({ hostname: 'a.org', port: undefined, isIpLiteral: false });
    expect(splitServerName('[::1]:8448')).toEqual({ hostname: '::1', port: 8448, isIpLiteral: true });
    for (const bad of ['', 'a:0', 'a:65536', '[1.2.3.4]', '[::g]', '::1', 'a:']) {
      expect(splitServerName(bad)).toBeUndefined();
    }
  });
});

describe('the address policy', () => {
  it('refuses special-purpose ranges in every way to write them', () => {
    const policy = createAddressPolicy([]);
    const refused =
      '127.0.0.1 10.1.2.3 172.16.0.1 192.168.1.1 169.254.169.254 100.64.0.1 0.0.0.0 224.0.0.1 255.255.255.255 198.18.0.1 ' +
      '::1 :: fe80::1 fc00::1 fd12::1 ff02::1 ::ffff:127.0.0.1 ::ffff:10.0.0.1 64:ff9b::7f00:1 2002:7f00:1:: 2001:db8::1 fe80::1%eth0 nonsense';
    for (const address of refused.split(' ')) expect([address, policy.allows(address)]).toEqual([address, false]);
    for (const address of ['1.1.1.1', '2606:4700::1111', '::ffff:1.1.1.1']) expect(policy.allows(address)).toBe(true);
  });

  it('allows what allow_ranges lists, and nothing beside it', () => {
    const policy = createAddressPolicy(['127.0.0.0/8', 'fd00::/8', '10.0.0.7']);
    for (const address of ['127.3.4.5', 'fd00::1', '10.0.0.7', '::ffff:127.0.0.1']) {
      expect(policy.allows(address)).toBe(true);
    }
    for (const address of ['10.0.0.8', '::1', 'fc00::1']) expect(policy.allows(address)).toBe(false);
    expect(() => createAddressPolicy(['10.0.0.0/99'])).toThrow('allow_ranges');
  });
});

describe('back-off', () => {
  it('grows, is jittered and never exceeds its bound', () => {
    fc.assert(
      fc.property(fc.integer({ min: 1, max: 10_000 }), fc.double({ min: 0, max: 0.999, noNaN: true }), (n, random) => {
        const wait = backOffMs(DESTINATION_BACK_OFF, n, random);
        expect(wait).toBeGreaterThanOrEqual(DESTINATION_BACK_OFF.firstMs * 0.75);
        expect(wait).toBeLessThanOrEqual(DESTINATION_BACK_OFF.maxMs);
        expect(backOffMs(DESTINATION_BACK_OFF, n + 1, random)).toBeGreaterThanOrEqual(wait);
      }),
    );
    expect(backOffMs(DESTINATION_BACK_OFF, 3, 0.5)).toBe(8_000);
  });

  it('respects what the other side asks for, within the bound', () => {
    expect(nextTryTs(DESTINATION_BACK_OFF, 1, 1000, 0.5, 60_000)).toBe(61_000);
    expect(nextTryTs(DESTINATION_BACK_OFF, 1, 1000, 0.5, 1e12)).toBe(1000 + DESTINATION_BACK_OFF.maxMs);
  });
});
