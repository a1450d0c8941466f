import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { availableParallelism, tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import { CONFIG_FILE_BYTES_MAX, ConfigError, loadConfig, parseConfig } from '../../src/cli/config.js';

const folder = mkdtempSync(join(tmpdir(), 'joinery-config-'));
afterAll(() => rmSync(folder, { recursive: true }));

const SAMPLE = `server_name: hs1
data_dir: ./data
signing_key_path: ./signing.key          # the reference homeserver's format: ed25519 a_abcd <base64 seed>
default_room_version: "11"
listeners:
  - { bind: 127.0.0.1, port: 8008, serve: [client, admin] }
  - { bind: 127.0.0.1, port: 8448, serve: [federation], tls: { cert: ./tls.crt, key: ./tls.key } }   # without tls: behind a proxy
federation:
  ca_file: ./ca.crt                      # extra trust anchors
  verify_certificates: true
  allow_ranges: [127.0.0.0/8]            # private ranges are refused unless listed
  hosts: { hs2: "127.0.0.1:18448", "*.hq.test": "127.0.0.1:18449" }   # static answers for names in a closed network
  key_servers: []                        # notaries
registration: { enabled: true }
admin: { token_file: ./admin.token }
workers: { threads: 2 }                  # default: all cores
`;

const SMALLEST = `server_name: hs1
data_dir: data
signing_key_path: /keys/signing.key
listeners: [{ bind: "::1", port: 0, serve: [client] }]
`;

function problemsOf(text: string): readonly string[] {
  try {
    parseConfig(text, '/srv/joinery.yaml');
  } catch (error) {
    if (error instanceof ConfigError) return error.problems;
    throw error;
  }
  return [];
}

describe('a configuration', () => {
  it('with every key is read, its paths relative to the file', () => {
    expect(parseConfig(SAMPLE, '/srv/joinery.yaml')).toEqual({
      serverName: 'hs1',
      dataDir: '/srv/data',
      signingKeyPath: '/srv/signing.key',
      defaultRoomVersion: '11',
      listeners: [
        { bind: '127.0.0.1', port: 8008, serve: ['client', 'admin'] },
        { bind: '127.0.0.1', port: 8448, serve: ['federation'], tls: { cert: '/srv/tls.crt', key: '/srv/tls.key' } },
      ],
      federation: {
        caFile: '/srv/ca.crt',
        verifyCertificates: true,
        allowRanges: ['127.0.0.0/8'],
        hosts: { hs2: '127.0.0.1:18448', '*.hq.test': '127.0.0.1:18449' },
        keyServers: [],
        partialJoins: true,
      },
      registration: { enabled: true },
      admin: { tokenFile: '/srv/admin.token' },
      workers: { threads: 2 },
      log: { level: 'info' },
    });
  });

  it('with the required keys only has defaults for the others', () => {
    expect(parseConfig(SMALLEST, '/srv/joinery.yaml')).toEqual({
      serverName: 'hs1',
      dataDir: '/srv/data',
      signingKeyPath: '/keys/signing.key',
      defaultRoomVersion: '11',
      listeners: [{ bind: '::1', port: 0, serve: ['client'] }],
      federation: { verifyCertificates: true, allowRanges: [], hosts: {}, keyServers: [], partialJoins: true },
      registration: { enabled: false },
      workers: { threads: availableParallelism() },
      log: { level: 'info' },
    });
  });

  it('may name notaries and a log level', () => {
    const config = parseConfig(
      `${SMALLEST}federation: { key_servers: [matrix.org] }\nlog: { level: debug }\n`,
      'x.yaml',
    );
    expect(config.federation.keyServers).toEqual(['matrix.org']);
    expect(config.log.level).toBe('debug');
  });

  it('is read from a file, and a missing or huge file is named', () => {
    const file = join(folder, 'joinery.yaml');
    writeFileSync(file, SMALLEST);
    expect(loadConfig(file).dataDir).toBe(join(folder, 'data'));
    expect(() => loadConfig(join(folder, 'missing.yaml'))).toThrow(
      /missing\.yaml: the configuration cannot be read: ENOENT/,
    );
    const huge = join(folder, 'huge.yaml');
    writeFileSync(huge, '#'.repeat(CONFIG_FILE_BYTES_MAX + 1));
    expect(() => loadConfig(huge)).toThrow(/huge\.yaml.*more than 1048576 bytes/);
  });
});

/** The sample with one line replaced: what each error says is then seen whole. */
function withLine(start: string, replacement: string): string {
  const lines = SAMPLE.split('\n');
  const index = lines.findIndex((line) => line.startsWith(start));
  lines[index] = replacement;
  return lines.join('\n');
}

describe('an error of the configuration names file, line, key and reason', () => {
  it.each([
    ['an unknown key', withLine('data_dir', 'data_dir: d\ndata_dri: d'), '/srv/joinery.yaml:3: data_dri: unknown key'],
    [
      'an unknown key inside of a list',
      withLine('  - { bind: 127.0.0.1, port: 8008', '  - { bind: a, port: 1, serve: [admin], ssl: 1 }'),
      '/srv/joinery.yaml:6: listeners.0.ssl: unknown key',
    ],
    [
      'an unknown key of a section',
      withLine('workers', 'workers: { count: 2 }'),
      '/srv/joinery.yaml:16: workers.count: unknown key',
    ],
    ['a missing key', withLine('data_dir', ''), '/srv/joinery.yaml:1: data_dir: is required'],
    [
      'a bad server name',
      withLine('server_name', 'server_name: "a b"'),
      '/srv/joinery.yaml:1: server_name: "a b" is not a server name (host or host:port)',
    ],
    [
      'a room version that is a number',
      withLine('default_room_version', 'default_room_version: 11'),
      '/srv/joinery.yaml:4: default_room_version: expected a room version in quotes, such as "11"',
    ],
    [
      'an unknown room version',
      withLine('default_room_version', 'default_room_version: "99"'),
      '/srv/joinery.yaml:4: default_room_version: expected one of 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12',
    ],
    [
      'a port out of range',
      withLine('  - { bind: 127.0.0.1, port: 8008', '  - { bind: a, port: 70000, serve: [admin] }'),
      '/srv/joinery.yaml:6: listeners.0.port: expected a port, 0 to 65535',
    ],
    [
      'an API that does not exist',
      withLine('  - { bind: 127.0.0.1, port: 8008', '  - { bind: a, port: 1, serve: [clients] }'),
      '/srv/joinery.yaml:6: listeners.0.serve.0: Invalid option: expected one of "client"|"federation"|"admin"',
    ],
    [
      'a listener that serves nothing',
      withLine('  - { bind: 127.0.0.1, port: 8008', '  - { bind: a, port: 1, serve: [] }'),
      '/srv/joinery.yaml:6: listeners.0.serve: expected at least one of client, federation, admin',
    ],
    [
      'an API named twice',
      withLine('  - { bind: 127.0.0.1, port: 8008', '  - { bind: a, port: 1, serve: [admin, admin] }'),
      '/srv/joinery.yaml:6: listeners.0.serve: names an API twice',
    ],
    [
      'an address taken twice',
      withLine('  - { bind: 127.0.0.1, port: 8008', '  - { bind: 127.0.0.1, port: 8448, serve: [admin] }'),
      '/srv/joinery.yaml:7: listeners.1.port: 127.0.0.1 port 8448 is taken by a listener above',
    ],
    [
      'tls without a key',
      withLine('  - { bind: 127.0.0.1, port: 8008', '  - { bind: a, port: 1, serve: [admin], tls: { cert: a } }'),
      '/srv/joinery.yaml:6: listeners.0.tls.key: is required',
    ],
    [
      'a range that is none',
      withLine('  allow_ranges', '  allow_ranges: [127.0.0.0/8, 10/8]'),
      '/srv/joinery.yaml:11: federation.allow_ranges.1: "10/8" is not a range in CIDR form, such as 127.0.0.0/8 or fd00::/8',
    ],
    [
      'a host without a port',
      withLine('  hosts', '  hosts:\n    hs2: 127.0.0.1'),
      '/srv/joinery.yaml:13: federation.hosts.hs2: "127.0.0.1" is not host:port with a port from 1 to 65535',
    ],
    [
      'a host name that is none',
      withLine('  hosts', '  hosts: { "a*b": "127.0.0.1:1" }'),
      '/srv/joinery.yaml:12: federation.hosts.a*b: the key is not a server name or *.suffix',
    ],
    [
      'a notary that is no server name',
      withLine('  key_servers', '  key_servers: ["a/b"]'),
      '/srv/joinery.yaml:13: federation.key_servers.0: "a/b" is not a server name (host or host:port)',
    ],
    [
      'an admin listener without a token',
      withLine('admin:', ''),
      '/srv/joinery.yaml:1: admin: is required, with token_file, because a listener serves admin',
    ],
    [
      'too few threads',
      withLine('workers', 'workers: { threads: 0 }'),
      '/srv/joinery.yaml:16: workers.threads: expected a number of threads, 1 to 1024',
    ],
    [
      'a value of another type',
      withLine('registration', 'registration: { enabled: "yes" }'),
      '/srv/joinery.yaml:14: registration.enabled: Invalid input: expected boolean, received string',
    ],
    ['an empty path', withLine('data_dir', 'data_dir: ""'), '/srv/joinery.yaml:2: data_dir: expected a path'],
    [
      'an empty value',
      withLine('data_dir', 'data_dir:'),
      '/srv/joinery.yaml:2: data_dir: Invalid input: expected string, received null',
    ],
  ])('%s', (_words, text, expected) => {
    expect(problemsOf(text)).toEqual([expected]);
  });

  it('all of them together, one line each', () => {
    expect(problemsOf('server_name: hs1\ndata_dir: 1\nlisteners: []\nfoo: 1\n')).toEqual([
      '/srv/joinery.yaml:2: data_dir: Invalid input: expected string, received number',
      '/srv/joinery.yaml:1: signing_key_path: is required',
      '/srv/joinery.yaml:3: listeners: expected at least one listener',
      '/srv/joinery.yaml:4: foo: unknown key',
    ]);
  });

  it('text that is no YAML, has a key twice, or is no map', () => {
    expect(problemsOf('a: [1\nb: 2\n')[0]).toMatch(/^\/srv\/joinery\.yaml:\d: not valid YAML: /);
    expect(problemsOf('server_name: a\nserver_name: b\n')).toEqual([
      '/srv/joinery.yaml:2: not valid YAML: Map keys must be unique',
    ]);
    expect(problemsOf('- a\n')).toEqual(['/srv/joinery.yaml:1: Invalid input: expected object, received array']);
    expect(problemsOf('')).toEqual(['/srv/joinery.yaml: Invalid input: expected object, received null']);
  });

  it('aliases that would grow without bound', () => {
    const levels = ['a: &a0 [x, x, x, x, x, x, x, x, x, x]'];
    for (let i = 1; i < 9; i += 1)
      levels.push(
        `b${i}: &a${i} [${Array(9)
          .fill(`*a${i - 1}`)
          .join(', ')}]`,
      );
    expect(problemsOf(levels.join('\n'))[0]).toMatch(/^\/srv\/joinery\.yaml: not usable YAML: Excessive alias count/);
  });
});
