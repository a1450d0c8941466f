import type { ServerResponse } from 'node:http';
import { type AddressInfo, createServer } from 'node:net';
import { setImmediate as nextTurn } from 'node:timers/promises';
import { afterEach, describe, expect, it, vi } from 'vitest';
import type { ServerName } from '../../src/kernel/matrix/ids.js';
import { parseXMatrix, verifyXMatrix } from '../../src/kernel/signatures/x-matrix.js';
import {
  createFederationClient,
  type FederationClient,
  type FederationClientOptions,
  FIRST_BYTE_TIMEOUT_MS,
  IDLE_TIMEOUT_MS,
  type RemoteRequest,
  TOTAL_TIMEOUT_MS,
} from '../../src/remote/federation-client.js';
import { RemoteError } from '../../src/remote/remote-error.js';
import {
  answerJson,
  type FederationStub,
  type StubHandler,
  startFederationStub,
  testAuthority,
  testKey,
} from '../support/federation-stub.js';

const OWN = testKey('hs1');
const HS2 = 'hs2' as ServerName;
const PING: RemoteRequest = { method: 'GET', path: '/_matrix/federation/v1/version' };
const open: { close(): Promise<void> }[] = [];

afterEach(async () => {
  await Promise.all(open.splice(0).map((one) => one.close()));
});

async function startStub(handler: StubHandler, altNames: readonly string[] = ['hs2']): Promise<FederationStub> {
  const stub = await startFederationStub(altNames, handler);
  open.push(stub);
  return stub;
}

async function startClient(
  hosts: Readonly<Record<string, string>>,
  more: Partial<FederationClientOptions> = {},
): Promise<FederationClient> {
  const client = createFederationClient({
    signingKey: OWN,
    hosts,
    ca: (await testAuthority()).cert,
    verifyCertificates: true,
    allowRanges: ['127.0.0.0/8'],
    clock: () => 1_000_000,
    ...more,
  });
  open.push(client);
  return client;
}

async function errorOf(promise: Promise<unknown>): Promise<RemoteError> {
  const error = await promise.then(
    () => undefined,
    (reason: unknown) => reason,
  );
  expect(error).toBeInstanceOf(RemoteError);
  return error as RemoteError;
}

async function collect(body: AsyncIterable<Buffer>): Promise<Buffer> {
  const chunks: Buffer[] = [];
  for await (const chunk of body) chunks.push(chunk);
  return Buffer.concat(chunks);
}

describe('a request to another server', () => {
  it('is signed over the exact URI and the canonical body that are sent', async () => {
    const stub = await startStub((_request, response) => answerJson(response, { ok: true }));
    const client = await startClient({ hs2: stub.address });
    const answer = await client.requestJson(HS2, {
      method: 'PUT',
      path: '/_matrix/federation/v2/send_join/!a%3Ab/%24c',
      query: [
        ['ver', '1'],
        ['ver', '2 ü'],
      ],
      content: { b: 'ü', a: [1, { d: null, c: true }] },
    });
    expect(answer).toEqual({ ok: true });
    const [request] = stub.requests;
    expect(request?.uri).toBe('/_matrix/federation/v2/send_join/!a%3Ab/%24c?ver=1&ver=2%20%C3%BC');
    expect(request?.body).toBe('{"a":[1,{"c":true,"d":null}],"b":"ü"}');
    expect(request?.headers.host).toBe('hs2');
    expect(request?.headers['accept-encoding']).toBe('identity');
    expect(request?.sni).toBe('hs2');
    const header = parseXMatrix(request?.headers.authorization ?? '');
    expect(header?.destination).toBe('hs2');
    const signed = {
      method: 'PUT',
      uri: request?.uri ?? '',
      origin: OWN.serverName,
      destination: HS2,
      content: JSON.parse(request?.body ?? ''),
    };
    expect(verifyXMatrix(signed, header?.signature ?? '', OWN.publicKey)).toBe(true);
  });

  it('bears no signature and no body where none is asked for', async () => {
    const stub = await startStub((_request, response) => answerJson(response, {}));
    const client = await startClient({ hs2: stub.address });
    await client.requestJson(HS2, { ...PING, signed: false });
    expect(stub.requests[0]?.headers.authorization).toBeUndefined();
    expect(stub.requests[0]?.headers['content-type']).toBeUndefined();
  });

  it('streams a large body with back-pressure and every byte in order', async () => {
    const block = Buffer.alloc(1024 * 1024, 'abcdefghij');
    let written = 0;
    const stub = await startStub(async (_request, response) => {
      response.writeHead(200, { 'content-length': block.length * 64 });
      for (let i = 0; i < 64; i++) {
        written += block.length;
        if (!response.write(block)) await new Promise((resolve) => response.once('drain', resolve));
      }
      response.end();
    });
    const client = await startClient({ hs2: stub.address });
    const stream = await client.requestStream(HS2, PING);
    expect(stream.contentLength).toBe(block.length * 64);
    let bytes = 0;
    let writtenAtFirstChunk: number | undefined;
    for await (const chunk of stream.body) {
      if (writtenAtFirstChunk === undefined) {
        // Many turns of the event loop in which nothing is taken: the sender must have been held back.
        for (let turn = 0; turn < 2_000; turn++) await new Promise((resolve) => setImmediate(resolve));
        writtenAtFirstChunk = written;
      }
      expect(chunk[0]).toBe(block[bytes % block.length]);
      bytes += chunk.length;
    }
    expect(bytes).toBe(block.length * 64);
    expect(writtenAtFirstChunk).toBeLessThan(block.length * 32);
  });

  it('is sent again once when the connection it went over had been closed meanwhile', async () => {
    const stub = await startStub((_request, response) => answerJson(response, {}));
    const client = await startClient({ hs2: stub.address });
    await client.requestJson(HS2, PING);
    stub.cut();
    await client.requestJson(HS2, PING);
    expect(stub.requests.length).toBeGreaterThanOrEqual(2);
  });
});

describe('a request that fails', () => {
  it('is refused with status, errcode and the time to wait', async () => {
    const stub = await startStub((_request, response) =>
      answerJson(response, { errcode: 'M_LIMIT_EXCEEDED', error: 'slow down', retry_after_ms: 1500 }, 429),
    );
    const client = await startClient({ hs2: stub.address });
    const error = await errorOf(client.requestJson(HS2, PING));
    expect(error).toMatchObject({ kind: 'refused', status: 429, errcode: 'M_LIMIT_EXCEEDED', retryAfterMs: 1500 });
    expect(error.message).toContain('slow down');
  });

  it('is refused also by plain text that is labelled JSON, with Retry-After in seconds or as a date', async () => {
    const date = new Date(1_000_000 + 7_000).toUTCString();
    const answers = ['3', date];
    const stub = await startStub((_request, response) => {
      response.writeHead(503, { 'content-type': 'application/json', 'retry-after': answers.shift() });
      response.end('upstream is down');
    });
    const client = await startClient({ hs2: stub.address });
    const first = await errorOf(client.requestJson(HS2, PING));
    expect(first).toMatchObject({ kind: 'refused', status: 503, errcode: undefined, retryAfterMs: 3000 });
    expect(first.message).toContain('upstream is down');
    expect((await errorOf(client.requestStream(HS2, PING))).retryAfterMs).toBe(7_000);
  });

  it('reads no more than 64 KiB of a refusal', async () => {
    const stub = await startStub((_request, response) => {
      response.writeHead(500);
      response.on('error', () => undefined);
      const write = (): void => {
        if (!response.destroyed) response.write(Buffer.alloc(65_536, 'x'), () => setImmediate(write));
      };
      write();
    });
    const client = await startClient({ hs2: stub.address });
    expect(await errorOf(client.requestJson(HS2, PING))).toMatchObject({ kind: 'refused', status: 500 });
  });

  it('does not follow redirects', async () => {
    const stub = await startStub((_request, response) => {
      response.writeHead(302, { location: 'https://127.0.0.1/' });
      response.end();
    });
    const client = await startClient({ hs2: stub.address });
    expect(await errorOf(client.requestJson(HS2, PING))).toMatchObject({ kind: 'refused', status: 302 });
    expect(stub.requests.length).toBe(1);
  });

  it('is malformed when the answer is not JSON or is compressed', async () => {
    const stub = await startStub((request, response) => {
      if (request.uri.endsWith('/gzip')) response.setHeader('content-encoding', 'gzip');
      response.end('{"a":');
    });
    const client = await startClient({ hs2: stub.address });
    expect((await errorOf(client.requestJson(HS2, PING))).kind).toBe('malformed');
    expect((await errorOf(client.requestJson(HS2, { ...PING, path: '/gzip' }))).kind).toBe('malformed');
  });

  it('is too large beyond bodyBytesMax', async () => {
    const stub = await startStub((_request, response) => answerJson(response, 'x'.repeat(5000)));
    const client = await startClient({ hs2: stub.address });
    expect((await errorOf(client.requestJson(HS2, { ...PING, bodyBytesMax: 4999 }))).kind).toBe('too-large');
    expect(await client.requestJson(HS2, { ...PING, bodyBytesMax: 5002 })).toHaveLength(5000);
  });

  it('times out when the first byte does not come', async () => {
    const stub = await startStub(() => undefined);
    const client = await startClient({ hs2: stub.address });
    expect((await errorOf(client.requestJson(HS2, { ...PING, firstByteTimeoutMs: 50 }))).kind).toBe('timeout');
  });

  it('that names no limits ends by the default ones, in virtual time', async () => {
    let answering: ServerResponse | undefined;
    const stub = await startStub((_request, response) => {
      answering = response;
      response.write(' ');
    });
    const client = await startClient({ hs2: stub.address });
    vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout'] });
    try {
      const dripping = await client.requestStream(HS2, PING);
      let waitedMs = 0;
      const read = async () => {
        for await (const _byte of dripping.body) {
          vi.advanceTimersByTime(IDLE_TIMEOUT_MS - 1);
          waitedMs += IDLE_TIMEOUT_MS - 1;
          answering?.write(' ');
        }
      };
      expect((await errorOf(read())).message).toMatch(`the answer did not end within ${TOTAL_TIMEOUT_MS} ms`);
      expect(waitedMs).toBeGreaterThanOrEqual(TOTAL_TIMEOUT_MS);
      expect(waitedMs).toBeLessThan(TOTAL_TIMEOUT_MS + IDLE_TIMEOUT_MS);
      answering = undefined;
      stub.handler = (_request, response) => {
        answering = response;
      };
      const silent = errorOf(client.requestJson(HS2, PING));
      while (answering === undefined) await nextTurn();
      vi.advanceTimersByTime(FIRST_BYTE_TIMEOUT_MS);
      expect((await silent).message).toMatch(`no answer within ${FIRST_BYTE_TIMEOUT_MS} ms`);
    } finally {
      vi.useRealTimers();
    }
  });

  it('times out when the next bytes do not come, but not while the reader is slow', async () => {
    const stub = await startStub((_request, response) => {
      response.writeHead(200, { 'content-length': 1000 });
      response.write('{"a":');
    });
    const client = await startClient({ hs2: stub.address });
    const stream = await client.requestStream(HS2, { ...PING, idleTimeoutMs: 50 });
    expect((await errorOf(collect(stream.body))).kind).toBe('timeout');
    stub.handler = (_request, response) => {
      response.end(Buffer.alloc(3 * 1024 * 1024));
    };
    const slow = await client.requestStream(HS2, { ...PING, idleTimeoutMs: 50 });
    let bytes = 0;
    for await (const chunk of slow.body) {
      if (bytes === 0) await new Promise((resolve) => setTimeout(resolve, 150));
      bytes += chunk.length;
    }
    expect(bytes).toBe(3 * 1024 * 1024);
  });

  it('is unreachable when the answer is cut short', async () => {
    const stub = await startStub((_request, response) => {
      response.writeHead(200, { 'content-length': 1000 });
      response.write('{"a":', () => response.destroy());
    });
    const client = await startClient({ hs2: stub.address });
    const stream = await client.requestStream(HS2, PING);
    expect((await errorOf(collect(stream.body))).kind).toBe('unreachable');
  });

  it('is unreachable at a closed port and through a closed client', async () => {
    const stub = await startStub(() => undefined);
    await stub.close();
    const client = await startClient({ hs2: stub.address, '*.dead.test': stub.address });
    expect((await errorOf(client.requestJson(HS2, PING))).kind).toBe('unreachable');
    const names = Array.from({ length: 20 }, (_, i) => `n${i}.dead.test` as ServerName);
    const errors = await Promise.all(names.map((name) => errorOf(client.requestJson(name, PING))));
    expect(new Set(errors.map((error) => error.kind))).toEqual(new Set(['unreachable']));
    await client.close();
    expect((await errorOf(client.requestJson(HS2, PING))).kind).toBe('unreachable');
  });

  it('times out when nobody completes the TLS handshake', async () => {
    const silent = createServer();
    await new Promise<void>((resolve) => silent.listen(0, '127.0.0.1', resolve));
    const { port } = silent.address() as AddressInfo;
    const client = await startClient({ hs2: `127.0.0.1:${port}` }, { connectTimeoutMs: 50 });
    expect((await errorOf(client.requestJson(HS2, PING))).kind).toBe('timeout');
    silent.close();
  });

  it('throws the reason of the caller who aborted it', async () => {
    const controller = new AbortController();
    const stub = await startStub(() => controller.abort(new Error('hung up')));
    const client = await startClient({ hs2: stub.address });
    await expect(client.requestJson(HS2, { ...PING, signal: controller.signal })).rejects.toThrow('hung up');
    await expect(client.requestJson(HS2, { ...PING, signal: controller.signal })).rejects.toThrow('hung up');
    expect(stub.requests.length).toBe(1);
  });
});

describe('certificates and addresses', () => {
  it('a certificate for another name is refused, unless certificates are not checked', async () => {
    const stub = await startStub((_request, response) => answerJson(response, {}), ['hs3']);
    const client = await startClient({ hs2: stub.address });
    const error = await errorOf(client.requestJson(HS2, PING));
    expect(error.kind).toBe('unreachable');
    expect(error.message).toContain('not for hs2');
    expect(stub.requests.length).toBe(0);
    const careless = await startClient({ hs2: stub.address }, { verifyCertificates: false });
    expect(await careless.requestJson(HS2, PING)).toEqual({});
  });

  it('a certificate of an unknown authority is refused', async () => {
    const stub = await startStub((_request, response) => answerJson(response, {}));
    const client = await startClient({ hs2: stub.address }, { ca: undefined });
    expect((await errorOf(client.requestJson(HS2, PING))).kind).toBe('unreachable');
    expect(stub.requests.length).toBe(0);
  });

  it('an address literal is served by a certificate for that address', async () => {
    const stub = await startStub((_request, response) => answerJson(response, {}), ['127.0.0.1']);
    const client = await startClient({});
    await client.requestJson(stub.address as ServerName, PING);
    expect(stub.requests[0]?.headers.host).toBe(stub.address);
    expect(stub.requests[0]?.sni).toBeUndefined();
  });

  it('an address that the policy refuses is not connected to, whether stated or resolved', async () => {
    const stub = await startStub((_request, response) => answerJson(response, {}), ['127.0.0.1', 'evil.test']);
    const lookup = () => Promise.resolve([{ address: '127.0.0.1', family: 4 }]);
    const client = await startClient({ hs2: stub.address }, { allowRanges: [], lookup });
    for (const name of ['hs2', stub.address, `evil.test:${stub.port}`]) {
      const error = await errorOf(client.requestJson(name as ServerName, PING));
      expect(error.kind).toBe('address-refused');
      expect(error.message).toContain('allow_ranges');
    }
    expect(stub.connections()).toBe(0);
  });

  it('a name that resolves to refused and allowed addresses is reached at an allowed one', async () => {
    const stub = await startStub((_request, response) => answerJson(response, {}), ['good.test']);
    const addresses = ['10.0.0.1', '127.0.0.1'].map((address) => ({ address, family: 4 }));
    const client = await startClient({}, { lookup: () => Promise.resolve(addresses) });
    await client.requestJson(`good.test:${stub.port}` as ServerName, PING);
    expect(stub.requests[0]?.headers.host).toBe(`good.test:${stub.port}`);
  });
});

describe('names under one wildcard of the hosts map', () => {
  it('share few connections where the certificate is good for them', async () => {
    const stub = await startStub((_request, response) => answerJson(response, {}), ['*.hq.test']);
    const client = await startClient({ '*.hq.test': stub.address });
    const names = Array.from({ length: 200 }, (_, i) => `s${i}.hq.test` as ServerName);
    await Promise.all(names.map((name) => client.requestJson(name, PING)));
    expect(stub.connections()).toBeLessThanOrEqual(4);
    expect(new Set(stub.requests.map((request) => request.headers.host))).toEqual(new Set(names));
  });

  it('get connections of their own, checked for their name, where it is not', async () => {
    const stub = await startStub((_request, response) => answerJson(response, {}), ['*.hq.test']);
    const client = await startClient({ '*.hq.test': stub.address });
    await client.requestJson('a.hq.test' as ServerName, PING);
    const error = await errorOf(client.requestJson('a.b.hq.test' as ServerName, PING));
    expect(error.message).toContain('not for a.b.hq.test');
    expect(stub.requests.length).toBe(1);
  });

  it('are served also when the first name asked for was the one without a certificate', async () => {
    const stub = await startStub((_request, response) => answerJson(response, {}), ['*.hq.test']);
    const client = await startClient({ '*.hq.test': stub.address });
    const [bad, good] = await Promise.allSettled([
      client.requestJson('a.b.hq.test' as ServerName, PING),
      client.requestJson('a.hq.test' as ServerName, PING),
    ]);
    expect(bad?.status).toBe('rejected');
    expect(good?.status).toBe('fulfilled');
  });
});
