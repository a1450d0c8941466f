/** `joinery serve` as an operator meets it: the real process, from its start to its end. */

import type { ChildProcess } from 'node:child_process';
import { spawn } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import http from 'node:http';
import { join } from 'node:path';
import { describe, expect, it, vi } from 'vitest';
import { generate } from '../../src/cli/generate.js';
import { LOCK_FILE } from '../../src/store/folder/lock-folder.js';
import { openStore, STORE_FORMAT } from '../../src/store/open-store.js';
import { temporaryFolder } from '../store/temporary-store.js';
import { MAIN } from './run-joinery.js';

/** Where LMDB's first page says how large pages are. */
const PAGE_BYTES_AT = 48;

interface Ended {
  readonly code: number | null;
  readonly signal: NodeJS.Signals | null;
}

class Serving {
  readonly process: ChildProcess;
  readonly ended: Promise<Ended>;
  out = '';
  error = '';

  constructor(dir: string) {
    const child = spawn(process.execPath, [MAIN, 'serve', '--config', join(dir, 'joinery.yaml')]);
    child.stdout.on('data', (text) => {
      this.out += String(text);
    });
    child.stderr.on('data', (text) => {
      this.error += String(text);
    });
    this.process = child;
    this.ended = new Promise((resolve) => child.on('close', (code, signal) => resolve({ code, signal })));
  }

  /** The address of an API, when the process has said it. */
  async url(api: string): Promise<URL> {
    while (!this.out.includes('\n')) {
      const ended = await Promise.race([
        this.ended,
        new Promise<undefined>((resolve) => this.process.stdout?.once('data', () => resolve(undefined))),
      ]);
      if (ended !== undefined) throw new Error(`ended with ${ended.code}: ${this.error}`);
    }
    return new URL(/(\S+)=(\S+)/g.exec(this.out.slice(this.out.indexOf(`${api}=`)))?.[2] ?? '');
  }

  stop(): Promise<Ended> {
    this.process.kill('SIGTERM');
    return this.ended;
  }
}

async function newServer(serverName = 'a.test'): Promise<string> {
  const dir = temporaryFolder();
  await generate({ serverName, dir, clientPort: 0, federationPort: 0, threads: 1 });
  return dir;
}

const dataDir = (dir: string) => join(dir, 'data');

/** Every file of a data folder, as a digest. LMDB's lock file holds who reads now, and nothing that was stored. */
function filesOf(dir: string): Record<string, string> {
  const names = readdirSync(dataDir(dir), { recursive: true, withFileTypes: true });
  return Object.fromEntries(
    names
      .filter((entry) => entry.isFile() && entry.name !== 'lock.mdb')
      .map((entry) => join(entry.parentPath, entry.name))
      .map((path) => [path, createHash('sha256').update(readFileSync(path)).digest('hex')]),
  );
}

interface Request {
  readonly answer: Promise<{ status: number | undefined; body: string }>;
  send(rest: string): void;
}

/** A request of which only the head has been sent. */
function begin(url: URL, method: string, path: string, bodyBytes: number): Request {
  const headers = { 'content-length': bodyBytes };
  const request = http.request(new URL(path, url), { method, headers, agent: false });
  request.flushHeaders();
  const answer = new Promise<{ status: number | undefined; body: string }>((resolve, reject) => {
    request.on('error', reject);
    request.on('response', (response) => {
      let body = '';
      response.on('data', (text) => {
        body += String(text);
      });
      response.on('end', () => resolve({ status: response.statusCode, body }));
    });
  });
  return { answer, send: (rest) => request.end(rest) };
}

describe('joinery serve', () => {
  it('says in one line where it answers, with real ports, and finishes what it was asked before SIGTERM ends it', async () => {
    const dir = await newServer();
    const serving = new Serving(dir);
    const url = await serving.url('client');
    expect(serving.out).toMatch(
      /^joinery ready: client=http:\/\/127\.0\.0\.1:\d+ admin=http:\/\/127\.0\.0\.1:\d+ federation=https:\/\/\S+:\d+\n$/,
    );
    const ports = [...serving.out.matchAll(/:(\d+)(?=\s)/g)].map(([, port]) => Number(port));
    expect(new Set(ports).size).toBe(2);
    expect(ports).not.toContain(0);
    const body = JSON.stringify({ username: 'erin', password: 'secret', auth: { type: 'm.login.dummy' } });
    const register = begin(url, 'POST', '/_matrix/client/v3/register', body.length);
    // What came on another connection was read before this one is answered: twice, and the head has been read.
    for (let times = 0; times < 2; times++) {
      const versions = begin(url, 'GET', '/_matrix/client/versions', 0);
      versions.send('');
      expect((await versions.answer).status).toBe(200);
    }
    const ended = serving.stop();
    register.send(body);
    const { status, body: answered } = await register.answer;
    expect([status, JSON.parse(answered)]).toEqual([200, expect.objectContaining({ user_id: '@erin:a.test' })]);
    expect(await ended).toEqual({ code: 0, signal: null });
    expect(serving.out.split('\n')).toHaveLength(2);
    expect(existsSync(join(dataDir(dir), LOCK_FILE))).toBe(false);
    const store = openStore(dataDir(dir), 'a.test');
    expect(store.tables.users.get('@erin:a.test')).toBeDefined();
    await store.close();
  });

  it('ends cleanly at a SIGTERM that comes while it starts, without a ready line', async () => {
    const dir = await newServer();
    const serving = new Serving(dir);
    // The lock is there as soon as it has begun to start, a second or more before it is ready.
    await vi.waitUntil(() => existsSync(join(dataDir(dir), LOCK_FILE)), { interval: 10, timeout: 20_000 });
    expect(serving.out).toBe('');
    expect(await serving.stop()).toEqual({ code: 0, signal: null });
    expect(serving.out).toBe('');
    expect(existsSync(join(dataDir(dir), LOCK_FILE))).toBe(false);
  });
});

describe('joinery serve on a data folder that it cannot use', () => {
  const put = async (dir: string, owner: string, format = STORE_FORMAT) => {
    mkdirSync(dataDir(dir), { recursive: true });
    const store = openStore(dataDir(dir), owner);
    store.write((writer) => {
      writer.tables.meta.put('format', format);
      for (let nid = 1; nid <= 500; nid++) writer.tables.event_body_by_nid.put(nid, Buffer.alloc(900, nid));
    });
    await store.close();
  };

  async function refused(words: RegExp, fill: (dir: string) => Promise<void>): Promise<void> {
    const dir = await newServer();
    await fill(dir);
    const before = filesOf(dir);
    const serving = new Serving(dir);
    expect(await serving.ended).toEqual({ code: 1, signal: null });
    expect(serving.error).toMatch(words);
    expect(serving.error).toContain(dataDir(dir));
    // LMDB itself may have said something before.
    expect([serving.error.match(/^joinery: /gm), serving.out]).toEqual([['joinery: '], '']);
    expect(filesOf(dir)).toEqual(before);
  }

  it('says whose it is or what is wrong with it, and what to do, and leaves it as it is', async () => {
    await Promise.all([
      refused(/belongs to b\.test, not to a\.test; use another data_dir/, (dir) => put(dir, 'b.test')),
      refused(/has store format \d+; .* run the version that wrote it, or use another data_dir/, (dir) =>
        put(dir, 'a.test', STORE_FORMAT + 1),
      ),
      // What a disk gives back that has lost its writes: holes, in every page but the first two.
      refused(/MDB_CORRUPTED.* is damaged: restore the folder from a backup, or name another data_dir/, async (dir) => {
        await put(dir, 'a.test');
        const file = join(dataDir(dir), 'store', 'data.mdb');
        const bytes = readFileSync(file);
        writeFileSync(file, bytes.fill(0, 2 * bytes.readUInt32LE(PAGE_BYTES_AT)));
      }),
    ]);
  });
});
