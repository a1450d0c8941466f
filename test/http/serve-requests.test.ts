import { createHash } from 'node:crypto';
import net from 'node:net';
import { describe, expect, it } from 'vitest';
import type { ApiRequest, ApiResponse } from '../../src/api/endpoint.js';
import { REFUSED_BODY_DRAIN_BYTES_MAX } from '../../src/http/limits.js';
import { startHttpServer } from '../../src/http/start-http-server.js';
import { MatrixError } from '../../src/kernel/matrix/matrix-error.js';
import { ask, endpoint, gate, memoryLog, withServer } from './http-support.js';

const ok = (): ApiResponse => ({ status: 200, json: { ok: true } });

/** Answers with what it was given. */
function echo(request: ApiRequest): ApiResponse {
  return {
    status: 200,
    json: {
      method: request.method,
      rawUri: request.rawUri,
      params: { ...request.params },
      q: request.query.get('q'),
      auth: request.header('authorization') ?? null,
      body: request.body.toString('utf8'),
    },
  };
}

/** Sends bytes as they are and returns everything received until the server closes or `until` is seen. */
function rawExchange(port: number, bytes: string, until: string): Promise<string> {
  return new Promise((resolve, reject) => {
    let received = '';
    const socket = net.connect(port, '127.0.0.1', () => socket.write(bytes));
    socket.on('data', (data) => {
      received += data.toString('latin1');
      if (received.includes(until)) socket.destroy();
    });
    socket.on('close', () => resolve(received));
    socket.on('error', reject);
  });
}

describe('a request', () => {
  it.each(['/e/%24a%2Fb%3Ac+d?q=%2F%3A+x&r=%24', '/e/$a:b?', '/e/a', '/e/a?q=?a=b', '/e/a?q=%zz'])(
    'reaches its endpoint with path and query exactly as received: %s',
    async (uri) => {
      await withServer([endpoint('GET', '/e/{id}', echo)], async ({ port }) => {
        const answer = await ask(port, uri);
        expect(answer.status).toBe(200);
        expect(JSON.parse(answer.text).rawUri).toBe(uri);
      });
    },
  );

  it('reaches its endpoint with decoded params and query, its headers in lower case, and its body', async () => {
    await withServer([endpoint('PUT', '/e/{id}', echo)], async ({ port }) => {
      const answer = await ask(port, '/e/%24a%2Fb+c?q=1%2F2+3', {
        method: 'PUT',
        headers: { Authorization: 'X-Matrix a' },
        body: '{"é":1}',
      });
      expect(JSON.parse(answer.text)).toEqual({
        method: 'PUT',
        rawUri: '/e/%24a%2Fb+c?q=1%2F2+3',
        params: { id: '$a/b+c' },
        q: '1/2 3',
        auth: 'X-Matrix a',
        body: '{"é":1}',
      });
      expect(answer.headers['content-type']).toBe('application/json');
    });
  });

  it('may be a GET with a body, and may be sent chunked', async () => {
    await withServer([endpoint('GET', '/e', echo), endpoint('POST', '/e', echo)], async ({ port }) => {
      const get = await ask(port, '/e', { headers: { 'content-length': 3 }, body: 'abc' });
      expect(JSON.parse(get.text).body).toBe('abc');
      const chunked = await ask(port, '/e', {
        method: 'POST',
        headers: { 'transfer-encoding': 'chunked' },
        body: 'abc',
      });
      expect(JSON.parse(chunked.text).body).toBe('abc');
    });
  });

  it('may have a body that arrives in many pieces', async () => {
    const body = Buffer.alloc(3_000_000, 'abcdefg');
    const hash = (request: ApiRequest): ApiResponse => ({
      status: 200,
      json: { hash: createHash('sha256').update(request.body).digest('hex') },
    });
    await withServer([endpoint('POST', '/e', hash, body.length)], async ({ port }) => {
      const answer = await ask(port, '/e', { method: 'POST', body });
      expect(JSON.parse(answer.text).hash).toBe(createHash('sha256').update(body).digest('hex'));
    });
  });

  it('joins repeated headers by a comma', async () => {
    await withServer([endpoint('GET', '/e', echo)], async ({ port }) => {
      const request = 'GET /e HTTP/1.1\r\nHost: x\r\nAuthorization: a\r\nAuthorization: b\r\n\r\n';
      expect(await rawExchange(port, request, 'rawUri')).toContain('"auth":"a, b"');
    });
  });
});

describe('a refusal', () => {
  it('is 404 M_UNRECOGNIZED at an unknown path and 405 M_UNRECOGNIZED, with Allow, for another method', async () => {
    await withServer([endpoint('GET', '/e', ok), endpoint('PUT', '/e', ok)], async ({ port }) => {
      const unknown = await ask(port, '/f');
      expect(unknown.status).toBe(404);
      expect(JSON.parse(unknown.text).errcode).toBe('M_UNRECOGNIZED');
      const method = await ask(port, '/e', { method: 'DELETE' });
      expect(method.status).toBe(405);
      expect(method.headers.allow).toBe('GET, PUT');
      expect(JSON.parse(method.text).errcode).toBe('M_UNRECOGNIZED');
      const head = await ask(port, '/e', { method: 'HEAD' });
      expect([head.status, head.text]).toEqual([405, '']);
    });
  });

  it('is 400 M_INVALID_PARAM for a path that does not decode', async () => {
    await withServer([endpoint('GET', '/e/{id}', ok)], async ({ port }) => {
      const answer = await ask(port, '/e/%zz');
      expect([answer.status, JSON.parse(answer.text).errcode]).toEqual([400, 'M_INVALID_PARAM']);
    });
  });

  it('is 413 M_TOO_LARGE for a body over the limit, stated, chunked, or too large to throw away', async () => {
    let calls = 0;
    const count = (): ApiResponse => {
      calls += 1;
      return ok();
    };
    await withServer([endpoint('POST', '/e', count, 10)], async ({ port }) => {
      const stated = await ask(port, '/e', {
        method: 'POST',
        headers: { connection: 'keep-alive' },
        body: 'x'.repeat(11),
      });
      expect([stated.status, JSON.parse(stated.text).errcode]).toEqual([413, 'M_TOO_LARGE']);
      expect(stated.headers.connection).not.toBe('close');
      const chunked = await ask(port, '/e', {
        method: 'POST',
        headers: { 'transfer-encoding': 'chunked' },
        body: 'x'.repeat(11),
      });
      expect([chunked.status, JSON.parse(chunked.text).errcode]).toEqual([413, 'M_TOO_LARGE']);
      const huge = `POST /e HTTP/1.1\r\nHost: x\r\nContent-Length: ${REFUSED_BODY_DRAIN_BYTES_MAX + 1}\r\n\r\nxx`;
      expect(await rawExchange(port, huge, 'never')).toContain('413');
      const exact = await ask(port, '/e', { method: 'POST', body: 'x'.repeat(10) });
      expect(exact.status).toBe(200);
      expect(calls).toBe(1);
    });
  });

  it('keeps the connection in step: the request after a refused body is answered', async () => {
    await withServer([endpoint('POST', '/e', ok, 10), endpoint('GET', '/f', ok)], async ({ port }) => {
      const two = `POST /e HTTP/1.1\r\nHost: x\r\nContent-Length: 20\r\n\r\n${'x'.repeat(20)}GET /f HTTP/1.1\r\nHost: x\r\n\r\n`;
      const received = await rawExchange(port, two, '{"ok":true}');
      expect(received).toContain('413');
      expect(received).toContain('200 OK');
    });
  });

  it('is 503 with Retry-After beyond the requests in progress', async () => {
    const entered = gate();
    const leave = gate();
    const waits = async (): Promise<ApiResponse> => {
      entered.open();
      await leave.promise;
      return ok();
    };
    await withServer(
      [endpoint('GET', '/w', waits), endpoint('GET', '/e', ok)],
      async ({ port }) => {
        const first = ask(port, '/w');
        await entered.promise;
        const second = await ask(port, '/e');
        expect([second.status, second.headers['retry-after']]).toEqual([503, '2']);
        leave.open();
        expect((await first).status).toBe(200);
        expect((await ask(port, '/e')).status).toBe(200);
      },
      { limits: { requestsMax: 1 } },
    );
  });

  it('is 503 when the bodies of all requests go beyond their budget, which is given back', async () => {
    const entered = gate();
    const leave = gate();
    const waits = async (): Promise<ApiResponse> => {
      entered.open();
      await leave.promise;
      return ok();
    };
    await withServer(
      [endpoint('POST', '/w', waits), endpoint('POST', '/e', ok)],
      async ({ port }) => {
        const first = ask(port, '/w', { method: 'POST', body: 'x'.repeat(80) });
        await entered.promise;
        expect((await ask(port, '/e', { method: 'POST', body: 'x'.repeat(80) })).status).toBe(503);
        leave.open();
        await first;
        expect((await ask(port, '/e', { method: 'POST', body: 'x'.repeat(80) })).status).toBe(200);
      },
      { limits: { bodyBytesTotalMax: 100 } },
    );
  });
});

describe('an endpoint that throws', () => {
  it('a MatrixError answers its status and body, and Retry-After in seconds for 429', async () => {
    const limited = (): never => {
      throw new MatrixError(429, 'M_LIMIT_EXCEEDED', 'Slow down.', { retry_after_ms: 1500 });
    };
    await withServer([endpoint('GET', '/e', limited)], async ({ port, log }) => {
      const answer = await ask(port, '/e');
      expect(answer.status).toBe(429);
      expect(answer.headers['retry-after']).toBe('2');
      expect(JSON.parse(answer.text)).toEqual({
        errcode: 'M_LIMIT_EXCEEDED',
        error: 'Slow down.',
        retry_after_ms: 1500,
      });
      expect(log.records).toEqual([]);
    });
  });

  it('anything else is logged without the query and answers 500 M_UNKNOWN without internals', async () => {
    const breaks = (): never => {
      throw new Error('secret inside');
    };
    const badHeader = (): ApiResponse => ({ status: 200, json: {}, headers: { a: 'b\r\nc: d' } });
    await withServer([endpoint('GET', '/e', breaks), endpoint('GET', '/h', badHeader)], async ({ port, log }) => {
      const answer = await ask(port, '/e?access_token=abc');
      expect([answer.status, JSON.parse(answer.text).errcode]).toEqual([500, 'M_UNKNOWN']);
      expect(answer.text).not.toContain('secret');
      expect(log.records).toHaveLength(1);
      expect(log.records[0]?.fields).toMatchObject({ method: 'GET', path: '/e' });
      expect((await ask(port, '/h')).status).toBe(500);
    });
  });
});

describe('cross-origin headers', () => {
  const endpoints = ['/_matrix/client/versions', '/_matrix/federation/v1/version', '/_joinery/admin/v1/process'];

  it('are on client answers, errors included, and nowhere else', async () => {
    await withServer(
      endpoints.map((path) => endpoint('GET', path, ok)),
      async ({ port }) => {
        const origins: unknown[] = [];
        for (const path of [...endpoints, '/_matrix/client/unknown', '/_matrix/media/v3/x']) {
          origins.push((await ask(port, path)).headers['access-control-allow-origin']);
        }
        expect(origins).toEqual(['*', undefined, undefined, '*', '*']);
      },
    );
  });

  it('answer a preflight with 204 without calling an endpoint; elsewhere OPTIONS is an unknown method', async () => {
    await withServer(
      endpoints.map((path) => endpoint('GET', path, ok)),
      async ({ port }) => {
        const preflight = await ask(port, '/_matrix/client/v3/anything', { method: 'OPTIONS' });
        expect([preflight.status, preflight.text]).toEqual([204, '']);
        expect(preflight.headers['access-control-allow-methods']).toBe('GET, POST, PUT, DELETE, OPTIONS');
        expect(preflight.headers['access-control-allow-headers']).toBe('X-Requested-With, Content-Type, Authorization');
        expect((await ask(port, '/_joinery/admin/v1/process', { method: 'OPTIONS' })).status).toBe(405);
      },
    );
  });
});

describe('startHttpServer', () => {
  it('reports the real port of a listener at port 0, and serves each listener its own endpoints', async () => {
    const server = await startHttpServer({
      listeners: [
        { bind: '127.0.0.1', port: 0, endpoints: [endpoint('GET', '/a', ok)] },
        { bind: '127.0.0.1', port: 0, endpoints: [endpoint('GET', '/b', ok)] },
      ],
      log: memoryLog(),
    });
    const [first, second] = server.addresses.map(({ port }) => port);
    expect(first).toBeGreaterThan(0);
    expect((await ask(first ?? 0, '/a')).status).toBe(200);
    expect((await ask(first ?? 0, '/b')).status).toBe(404);
    expect((await ask(second ?? 0, '/b')).status).toBe(200);
    await server.close(0);
  });

  it('names the address of a port that is taken, and leaves nothing listening', async () => {
    await withServer([], async ({ port }) => {
      const listeners = [
        { bind: '127.0.0.1', port: 0, endpoints: [] },
        { bind: '127.0.0.1', port, endpoints: [] },
      ];
      await expect(startHttpServer({ listeners, log: memoryLog() })).rejects.toThrow(
        `Cannot listen on 127.0.0.1 port ${port}`,
      );
    });
  });

  it('waits at close for requests in progress, and refuses new connections', async () => {
    const entered = gate();
    const leave = gate();
    const waits = async (): Promise<ApiResponse> => {
      entered.open();
      await leave.promise;
      return ok();
    };
    await withServer([endpoint('GET', '/w', waits)], async ({ port, server }) => {
      const first = ask(port, '/w', { headers: { connection: 'keep-alive' } });
      await entered.promise;
      const closed = server.close(60_000);
      await expect(ask(port, '/w')).rejects.toThrow('ECONNREFUSED');
      leave.open();
      const answer = await first;
      expect([answer.status, answer.headers.connection]).toEqual([200, 'close']);
      await closed;
    });
  });

  it('cuts at the deadline what is still in progress, and aborts its signal', async () => {
    const entered = gate();
    const aborted = gate();
    const waits = (request: ApiRequest): Promise<ApiResponse> => {
      request.signal.addEventListener('abort', () => aborted.open());
      entered.open();
      return new Promise(() => undefined);
    };
    await withServer([endpoint('GET', '/w', waits)], async ({ port, server }) => {
      const first = expect(ask(port, '/w')).rejects.toThrow('socket hang up');
      await entered.promise;
      await server.close(1);
      await aborted.promise;
      await first;
    });
  });

  it('closes idle connections at close', async () => {
    await withServer([endpoint('GET', '/e', ok)], async ({ port, server }) => {
      const socket = net.connect(port, '127.0.0.1');
      const ended = new Promise((resolve) => socket.on('close', resolve));
      await new Promise((resolve) => {
        socket.once('data', resolve);
        socket.write('GET /e HTTP/1.1\r\nHost: x\r\n\r\n');
      });
      await server.close(0);
      await ended;
    });
  });

  it('aborts the signal of a request whose caller hangs up, and does not answer it', async () => {
    const entered = gate();
    const aborted = gate();
    const waits = async (request: ApiRequest): Promise<ApiResponse> => {
      entered.open();
      await new Promise<void>((resolve) => request.signal.addEventListener('abort', () => resolve()));
      aborted.open();
      request.signal.throwIfAborted();
      return ok();
    };
    await withServer([endpoint('GET', '/w', waits), endpoint('GET', '/e', ok)], async ({ port, log }) => {
      const socket = net.connect(port, '127.0.0.1', () => socket.write('GET /w HTTP/1.1\r\nHost: x\r\n\r\n'));
      await entered.promise;
      socket.destroy();
      await aborted.promise;
      expect((await ask(port, '/e')).status).toBe(200);
      expect(log.records).toEqual([]);
    });
  });

  it('forgets a request whose caller hangs up in the middle of the body', async () => {
    await withServer(
      [endpoint('POST', '/e', ok, 100)],
      async ({ port }) => {
        const socket = net.connect(port, '127.0.0.1');
        await new Promise<void>((resolve) =>
          socket.write('POST /e HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\nabc', () => resolve()),
        );
        await new Promise<void>((resolve) => socket.end(() => resolve()));
        socket.destroy();
        await expect.poll(async () => (await ask(port, '/e', { method: 'POST' })).status).toBe(200);
      },
      { limits: { requestsMax: 1 } },
    );
  });
});
