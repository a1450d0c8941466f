import { createHash } from 'node:crypto';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { ApiResponse } from '../../src/api/endpoint.js';
import { type CertificatePair, makeCertificate } from '../../src/cli/make-certificate.js';
import { TlsFileError } from '../../src/http/check-tls-files.js';
import { startHttpServer } from '../../src/http/start-http-server.js';
import { ask, endpoint, gate, memoryLog, open, withServer } from './http-support.js';

const MIB = 1024 * 1024;
/** uWebSockets.js cuts a reader that takes nothing for 10 s; its clock ticks every 4 s. */
const IDLE_CUT_TIMEOUT_MS = 30_000;

let folder = '';
let tls = { cert: '', key: '' };
let pair: CertificatePair;

beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), 'joinery-http-'));
  tls = { cert: join(folder, 'tls.crt'), key: join(folder, 'tls.key') };
  pair = await makeCertificate({ commonName: 'localhost', altNames: ['localhost', '127.0.0.1'] });
  writeFileSync(tls.cert, pair.cert);
  writeFileSync(tls.key, pair.key);
});

afterAll(() => rmSync(folder, { recursive: true }));

function streamed(contentLength: number, chunks: AsyncIterable<Uint8Array> | Iterable<Uint8Array>): ApiResponse {
  return { status: 200, contentType: 'application/json', contentLength, chunks };
}

/** Chunks of 1 byte to 500 KB whose bytes depend on their place. */
function* pattern(totalBytes: number): Generator<Buffer> {
  const source = Buffer.alloc(2 * MIB);
  for (let i = 0; i < source.length; i += 4) source.writeUInt32LE((i * 2_654_435_761) >>> 0, i);
  let sent = 0;
  for (let turn = 0; sent < totalBytes; turn += 1) {
    const size = Math.min(
      turn % 7 === 0 ? 1 + (turn % 500_000) * 37 : 1 + ((turn * 7919) % 3_000),
      500_000,
      totalBytes - sent,
    );
    yield source.subarray(turn % 65_536, (turn % 65_536) + size);
    sent += size;
  }
}

describe('a large answer', () => {
  it('of 200 MB over TLS arrives byte for byte, with its length stated', async () => {
    const totalBytes = 200 * 1000 * 1000;
    const sent = createHash('sha256');
    function* hashed(): Generator<Buffer> {
      for (const chunk of pattern(totalBytes)) {
        sent.update(chunk);
        yield chunk;
      }
    }
    await withServer(
      [endpoint('GET', '/big', () => streamed(totalBytes, hashed()))],
      async ({ port }) => {
        const { response } = await open(port, '/big', pair.cert);
        expect(response.headers['content-length']).toBe(String(totalBytes));
        const received = createHash('sha256');
        let bytes = 0;
        for await (const chunk of response as AsyncIterable<Buffer>) {
          received.update(chunk);
          bytes += chunk.length;
        }
        expect(bytes).toBe(totalBytes);
        expect(received.digest('hex')).toBe(sent.digest('hex'));
      },
      { tls },
    );
  }, 60_000);

  it('arrives whole at slow and fast readers at one time, over TLS', async () => {
    const sizes = [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11].map((index) => 70_000 + ((index * 7_777_777) % (20 * MIB)));
    const answer = (id: string): ApiResponse => streamed(sizes[Number(id)] ?? 0, pattern(sizes[Number(id)] ?? 0));
    await withServer(
      [endpoint('GET', '/{id}', ({ params }) => answer(params.id ?? ''))],
      async ({ port }) => {
        const read = async (index: number): Promise<void> => {
          const { response } = await open(port, `/${index}`, pair.cert);
          const received = createHash('sha256');
          for await (const chunk of response as AsyncIterable<Buffer>) {
            received.update(chunk);
            const turns = index % 2 === 0 ? 0 : 20;
            for (let turn = 0; turn < turns; turn += 1) await new Promise((resolve) => setImmediate(resolve));
          }
          const expected = createHash('sha256');
          for (const chunk of pattern(sizes[index] ?? 0)) expected.update(chunk);
          expect([index, received.digest('hex')]).toEqual([index, expected.digest('hex')]);
        };
        await Promise.all(sizes.map((_size, index) => read(index)));
      },
      { tls },
    );
  }, 30_000);

  it('arrives whole with an asynchronous producer, over plain HTTP, and the connection is used again', async () => {
    async function* slow(): AsyncGenerator<Buffer> {
      for (const chunk of pattern(5 * MIB)) {
        await Promise.resolve();
        yield chunk;
      }
    }
    const expected = createHash('sha256')
      .update(Buffer.concat([...pattern(5 * MIB)]))
      .digest('hex');
    await withServer([endpoint('GET', '/big', () => streamed(5 * MIB, slow()))], async ({ port }) => {
      for (let turn = 0; turn < 3; turn += 1) {
        const { response } = await open(port, '/big');
        const received = createHash('sha256');
        for await (const chunk of response as AsyncIterable<Buffer>) received.update(chunk);
        expect(received.digest('hex')).toBe(expected);
      }
    });
  });

  it('may be empty, or JSON or bytes of any size', async () => {
    const text = 'é'.repeat(3 * MIB);
    const bytes = Buffer.concat([...pattern(MIB)]);
    await withServer(
      [
        endpoint('GET', '/empty', () => streamed(0, [])),
        endpoint('GET', '/json', () => ({ status: 200, json: { text } })),
        endpoint('GET', '/bytes', () => ({ status: 200, bytes, contentType: 'application/octet-stream' })),
        endpoint('GET', '/small', () => ({ status: 200, bytes: Buffer.from('abc'), contentType: 'text/plain' })),
      ],
      async ({ port }) => {
        const empty = await ask(port, '/empty');
        expect([empty.status, empty.headers['content-length'], empty.text]).toEqual([200, '0', '']);
        expect(JSON.parse((await ask(port, '/json')).text).text).toBe(text);
        expect((await ask(port, '/bytes')).headers['content-length']).toBe(String(MIB));
        const small = await ask(port, '/small');
        expect([small.text, small.headers['content-type']]).toEqual(['abc', 'text/plain']);
      },
    );
  });

  it('pulls no further than the reader reads', async () => {
    let pulledBytes = 0;
    function* counted(): Generator<Buffer> {
      for (const chunk of pattern(200 * MIB)) {
        pulledBytes += chunk.length;
        yield chunk;
      }
    }
    await withServer(
      [endpoint('GET', '/big', () => streamed(200 * MIB, counted()))],
      async ({ port }) => {
        const { response, request } = await open(port, '/big', pair.cert);
        await new Promise((resolve) => response.once('readable', resolve));
        const turns = { before: -1 };
        while (turns.before !== pulledBytes) {
          turns.before = pulledBytes;
          for (let turn = 0; turn < 50; turn += 1) await new Promise((resolve) => setImmediate(resolve));
        }
        // What the two kernels' socket buffers and the reader's own may hold; far below 200 MiB.
        expect(pulledBytes).toBeLessThan(32 * MIB);
        request.destroy();
      },
      { tls },
    );
  });

  it("calls the producer's return when the reader hangs up in the middle", async () => {
    const returned = gate();
    function* endless(): Generator<Buffer> {
      try {
        yield* pattern(500 * MIB);
      } finally {
        returned.open();
      }
    }
    await withServer(
      [endpoint('GET', '/big', () => streamed(500 * MIB, endless()))],
      async ({ port, log }) => {
        const { response, request } = await open(port, '/big', pair.cert);
        response.on('error', () => undefined);
        await new Promise((resolve) => response.once('data', resolve));
        request.destroy();
        await returned.promise;
        expect(log.records).toEqual([]);
      },
      { tls },
    );
  });

  it.concurrent(
    'is cut off when its reader stalls for longer than 10 s',
    async () => {
      const returned = gate();
      function* endless(): Generator<Buffer> {
        try {
          yield* pattern(500 * MIB);
        } finally {
          returned.open();
        }
      }
      await withServer([endpoint('GET', '/big', () => streamed(500 * MIB, endless()))], async ({ port }) => {
        const { response } = await open(port, '/big');
        response.on('error', () => undefined);
        response.pause();
        await returned.promise;
      });
    },
    IDLE_CUT_TIMEOUT_MS,
  );

  it.each([
    ['fewer', 1000, 2000],
    ['more', 2000, 1000],
    ['more, beyond a piece,', 3 * MIB, 2 * MIB],
    ['fewer, beyond a piece,', 2 * MIB, 3 * MIB],
  ])(
    'whose producer yields %s bytes than stated never looks complete, and is logged',
    async (_words, yielded, stated) => {
      await withServer([endpoint('GET', '/big', () => streamed(stated, pattern(yielded)))], async ({ port, log }) => {
        const outcome = await ask(port, '/big').then(
          ({ status }) => status,
          (error: Error) => error.message,
        );
        expect([500, 'aborted', 'socket hang up']).toContain(outcome);
        expect(log.records).toHaveLength(1);
        expect(String(log.records[0]?.fields.err)).toContain('assertion failed: the producer yield');
      });
    },
  );

  it('whose producer throws is a 500 before the first byte, and a closed connection after it', async () => {
    function* throwsAfter(bytes: number): Generator<Buffer> {
      yield* pattern(bytes);
      throw new Error('disk gone');
    }
    await withServer(
      [
        endpoint('GET', '/early', () => streamed(5 * MIB, throwsAfter(100))),
        endpoint('GET', '/late', () => streamed(5 * MIB, throwsAfter(MIB))),
      ],
      async ({ port, log }) => {
        expect((await ask(port, '/early')).status).toBe(500);
        await expect(ask(port, '/late')).rejects.toThrow();
        expect(log.records.map(({ fields }) => String(fields.err))).toEqual([
          'Error: disk gone',
          `BrokenAnswerError: An answer of ${5 * MIB} bytes broke off: disk gone`,
        ]);
      },
    );
  });
});

describe('TLS files', () => {
  const start = (files: { cert: string; key: string }): Promise<unknown> =>
    startHttpServer({ listeners: [{ bind: '127.0.0.1', port: 0, endpoints: [], tls: files }], log: memoryLog() });

  it('that do not exist, are no PEM, or do not belong together are named', async () => {
    const missing = join(folder, 'missing.crt');
    await expect(start({ cert: missing, key: tls.key })).rejects.toThrow(`TLS certificate ${missing} cannot be read`);
    await expect(start({ cert: tls.cert, key: folder })).rejects.toThrow(`TLS key ${folder} cannot be read`);
    const garbage = join(folder, 'garbage');
    writeFileSync(garbage, 'no PEM');
    await expect(start({ cert: garbage, key: tls.key })).rejects.toThrow(`${garbage} is not a PEM certificate`);
    await expect(start({ cert: tls.cert, key: garbage })).rejects.toThrow(`${garbage} is not a PEM private key`);
    const other = join(folder, 'other.key');
    writeFileSync(other, (await makeCertificate({ commonName: 'x', altNames: ['x'] })).key);
    await expect(start({ cert: tls.cert, key: other })).rejects.toThrow(
      `TLS key ${other} does not belong to the certificate ${tls.cert}`,
    );
    await expect(start({ cert: tls.cert, key: other })).rejects.toBeInstanceOf(TlsFileError);
  });
});
