import { X509Certificate } from 'node:crypto';
import { existsSync, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import http from 'node:http';
import https from 'node:https';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import { loadConfig } from '../../src/cli/config.js';
import { GenerateError, generate } from '../../src/cli/generate.js';
import { makeCertificate } from '../../src/cli/make-certificate.js';
import { readAdminToken, readSigningKey } from '../../src/cli/read-secret-files.js';
import { startHttpServer } from '../../src/http/start-http-server.js';

const folder = mkdtempSync(join(tmpdir(), 'joinery-generate-'));
afterAll(() => rmSync(folder, { recursive: true }));

describe('generate', () => {
  it('writes a configuration that loads, with secrets for their owner only', async () => {
    const dir = join(folder, 'one', 'two');
    const files = await generate({ serverName: 'hs1.example:8448', dir });
    const config = loadConfig(files.config);
    expect(config).toMatchObject({
      serverName: 'hs1.example:8448',
      dataDir: join(dir, 'data'),
      signingKeyPath: files.signingKey,
      admin: { tokenFile: files.adminToken },
      registration: { enabled: true },
    });
    expect(config.listeners.map(({ serve, port }) => [port, ...serve])).toEqual([
      [8008, 'client', 'admin'],
      [8448, 'federation'],
    ]);
    expect(config.listeners[1]?.tls).toEqual({ cert: files.tlsCert, key: files.tlsKey });
    for (const secret of [files.signingKey, files.adminToken, files.tlsKey]) {
      expect(statSync(secret).mode & 0o777).toBe(0o600);
    }
    expect(readSigningKey(files.signingKey).keyId).toMatch(/^ed25519:a_[a-z]{4}$/);
    expect(readAdminToken(files.adminToken)).toHaveLength(43);
  });

  it('makes a certificate for the host without its port, localhost and 127.0.0.1, on P-256 with SHA-256', async () => {
    const files = await generate({
      serverName: 'hs1.example:8448',
      dir: join(folder, 'cert'),
      altNames: ['*.hq.test'],
    });
    const certificate = new X509Certificate(readFileSync(files.tlsCert));
    expect(certificate.subjectAltName).toBe('DNS:hs1.example, DNS:localhost, IP Address:127.0.0.1, DNS:*.hq.test');
    expect(certificate.publicKey.asymmetricKeyDetails?.namedCurve).toBe('prime256v1');
    expect(certificate.checkHost('a.hq.test')).toBeDefined();
    expect(certificate.ca).toBe(false);
    // ecdsa-with-SHA256, 1.2.840.10045.4.3.2
    expect(certificate.raw.includes(Buffer.from('06082a8648ce3d040302', 'hex'))).toBe(true);
  });

  it('makes a certificate for an address, IPv6 too', async () => {
    const files = await generate({ serverName: '[::1]:8448', dir: join(folder, 'six') });
    expect(new X509Certificate(readFileSync(files.tlsCert)).checkIP('::1')).toBeDefined();
  });

  it('refuses to overwrite, names what is in its way, and then writes nothing', async () => {
    const dir = mkdtempSync(join(folder, 'taken-'));
    writeFileSync(join(dir, 'signing.key'), 'mine');
    writeFileSync(join(dir, 'tls.crt'), 'mine');
    const refused = generate({ serverName: 'hs1', dir });
    await expect(refused).rejects.toBeInstanceOf(GenerateError);
    await expect(refused).rejects.toThrow(`${join(dir, 'signing.key')}, ${join(dir, 'tls.crt')}`);
    expect(existsSync(join(dir, 'joinery.yaml'))).toBe(false);
    expect(readFileSync(join(dir, 'signing.key'), 'utf8')).toBe('mine');
  });

  it('refuses a bad server name', async () => {
    await expect(generate({ serverName: 'a b', dir: join(folder, 'bad') })).rejects.toThrow(
      '"a b" is not a server name',
    );
  });

  it('takes ports, federation section, threads, room version, and a shared authority', async () => {
    const ca = await makeCertificate({ commonName: 'test authority', altNames: ['authority.test'], isCa: true });
    const files = await generate({
      serverName: 'hs2',
      dir: join(folder, 'ca'),
      clientPort: 0,
      federationPort: 0,
      threads: 3,
      defaultRoomVersion: '11',
      registrationEnabled: false,
      federation: { allowRanges: ['127.0.0.0/8'], hosts: { '*.hq.test': '127.0.0.1:1' }, keyServers: ['hs1'] },
      ca,
    });
    const config = loadConfig(files.config);
    expect(config.federation).toEqual({
      caFile: files.caCert,
      verifyCertificates: true,
      allowRanges: ['127.0.0.0/8'],
      hosts: { '*.hq.test': '127.0.0.1:1' },
      keyServers: ['hs1'],
      partialJoins: true,
    });
    expect([config.workers.threads, config.defaultRoomVersion, config.registration.enabled]).toEqual([3, '11', false]);
    const certificate = new X509Certificate(readFileSync(files.tlsCert));
    expect(certificate.checkIssued(new X509Certificate(ca.cert))).toBe(true);
    expect(certificate.verify(new X509Certificate(ca.cert).publicKey)).toBe(true);
  });

  it('makes a certificate that a client accepts who trusts the authority, and no other', async () => {
    const ca = await makeCertificate({ commonName: 'test authority', altNames: ['authority.test'], isCa: true });
    const files = await generate({ serverName: 'hs3', dir: join(folder, 'tls'), ca });
    const server = await startHttpServer({
      listeners: [{ bind: '127.0.0.1', port: 0, endpoints: [], tls: { cert: files.tlsCert, key: files.tlsKey } }],
      log: { error: () => undefined, warn: () => undefined },
    });
    const port = server.addresses[0]?.port;
    const status = (options: https.RequestOptions): Promise<number | undefined> =>
      new Promise((resolve, reject) => {
        const request = https.get(
          { host: '127.0.0.1', port, servername: 'hs3', agent: false, ...options },
          (answer) => {
            answer.resume();
            resolve(answer.statusCode);
          },
        );
        request.on('error', reject);
      });
    await expect(status({ ca: ca.cert })).resolves.toBe(404);
    await expect(status({})).rejects.toThrow(/unable to verify|self-signed/);
    await expect(status({ ca: ca.cert, servername: 'other.test' })).rejects.toThrow(
      "does not match certificate's altnames",
    );
    expect(http.STATUS_CODES[404]).toBe('Not Found');
    await server.close(0);
  });
});
