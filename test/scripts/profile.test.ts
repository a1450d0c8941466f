/** How sampled stacks become a table of stages: which file counts for which, and that nothing is lost or made up. */

import { existsSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { describe, expect, it } from 'vitest';
import {
  type CpuProfile,
  profileRows,
  profileTable,
  stageOfFile,
  stageOfStack,
} from '../../scripts/hq/measure/profile.js';
import {
  NODE_ON_ITS_OWN,
  ON_THEIR_OWN,
  STAGES,
  V8_NAMES,
  WITH_ALL_THEY_CALL,
} from '../../scripts/hq/measure/profile-stages.js';
import { parseOptions } from '../../scripts/hq/options.js';

const root = fileURLToPath(new URL('../..', import.meta.url));
const OURS = 'file:///srv/joinery/dist/src';
const PACKAGES = 'file:///srv/joinery/node_modules';

/** A stack, innermost frame first, of `url` or `url functionName`. */
function stack(...frames: string[]) {
  return frames.map((frame) => {
    const [url = '', functionName = 'f'] = frame.split(' ');
    return { url, functionName };
  });
}

describe('the stages of a profile', () => {
  it('name files and folders that exist, each in one list at most once', () => {
    const files = [...WITH_ALL_THEY_CALL, ...ON_THEIR_OWN].flatMap((row) => row.files);
    expect(files.filter((file) => !existsSync(join(root, file)))).toEqual([]);
    for (const lists of [WITH_ALL_THEY_CALL, ON_THEIR_OWN, NODE_ON_ITS_OWN]) {
      const named = lists.flatMap((row) => row.files);
      expect(new Set(named).size).toBe(named.length);
    }
  });

  it('are each used, and take in every source file', () => {
    const used = new Set([...WITH_ALL_THEY_CALL, ...ON_THEIR_OWN, ...NODE_ON_ITS_OWN].map(({ stage }) => stage));
    for (const stage of Object.values(V8_NAMES)) used.add(stage);
    const ofThreads = ["V8's helper threads: compiling, collecting", "libuv's threads: LMDB's commits"];
    expect(STAGES.filter((stage) => !used.has(stage))).toEqual(ofThreads);
    const sources = readdirSync(join(root, 'src'), { recursive: true, encoding: 'utf8' }).filter((name) =>
      name.endsWith('.ts'),
    );
    expect(sources.filter((name) => stageOfFile(ON_THEIR_OWN, `src/${name}`) === undefined)).toEqual([]);
    expect(stageOfFile(ON_THEIR_OWN, 'src/kernel/pdu-bytes/scan-pdu.ts')).toBe('format, fields, records of events');
    expect(stageOfFile(ON_THEIR_OWN, 'src/kernel/pdu-bytes/scan-canonical.ts')).toBe(
      'canonical form and hashes of events',
    );
  });

  it('follow from the innermost file that has one, and from the outermost that counts for all it calls', () => {
    const sodium = `${PACKAGES}/sodium-native/index.js`;
    const verifying = [sodium, `${OURS}/kernel/signatures/ed25519.js`, `${OURS}/workers/jobs/verify-pdus.js`];
    expect(stageOfStack(stack(...verifying))).toBe('signature checks of events (libsodium)');
    const ofKeys = [sodium, `${OURS}/kernel/signatures/ed25519.js`, `${OURS}/remote/keys/check-key-response.js`];
    expect(stageOfStack(stack(...ofKeys))).toBe('keys of servers');
    const buffers = ['node:buffer', `${OURS}/kernel/pdu-bytes/scan-pdu.js`, `${OURS}/workers/thread.js`];
    expect(stageOfStack(stack(...buffers))).toBe('format, fields, records of events');
    expect(stageOfStack(stack('node:_tls_wrap', 'node:internal/process/task_queues'))).toBe(
      'requests to servers: TLS, sockets, signing',
    );
    expect(stageOfStack(stack('node:events'))).toBe('other packages and node');
    expect(stageOfStack(stack(' (garbage', `${OURS}/workers/thread.js`))).toBe('tasks and batches between threads');
  });

  it('are none where a thread waits', () => {
    expect(stageOfStack([{ url: '', functionName: '(idle)' }])).toBeUndefined();
    const waiting = { url: `${PACKAGES}/piscina/dist/worker.js`, functionName: 'atomicsWaitLoop' };
    expect(stageOfStack([waiting])).toBeUndefined();
    expect(stageOfStack([{ ...waiting, functionName: 'onMessage' }])).toBe('tasks and batches between threads');
    expect(stageOfStack([{ url: '', functionName: '(garbage collector)' }])).toBe('garbage collection in the program');
  });
});

/** One node for each stack of two frames, and a sample of each `stacks` entry, `stepUs` apart. */
function profileOf(startTime: number, stepUs: number, urls: readonly string[]): CpuProfile {
  const [root, ...leaves] = ['', ...new Set(urls)].map((url, id) => ({ id, url }));
  const idByUrl = new Map(leaves.map(({ id, url }) => [url, id]));
  return {
    startTime,
    nodes: [
      { id: root!.id, callFrame: { functionName: '(root)', url: '' }, children: [...idByUrl.values()] },
      ...leaves.map(({ id, url }) => ({ id, callFrame: { functionName: url === '' ? '(idle)' : 'f', url } })),
    ],
    samples: urls.map((url) => idByUrl.get(url)!),
    timeDeltas: urls.map(() => stepUs),
  };
}

describe('the table of a profile', () => {
  const split = `${OURS}/remote/split-response.js`;
  const lmdb = `${PACKAGES}/lmdb/write.js`;
  const thread = (number: number, cpuUs: number, name = 'node') => ({ thread: number, name, cpuUs });
  const before = { atUs: 1_000, threads: [thread(10, 100), thread(11, 50), thread(12, 5, 'v8:ProfEvntProc')] };
  const after = {
    atUs: 9_000,
    threads: [thread(10, 4_100), thread(11, 350), thread(12, 25, 'v8:ProfEvntProc'), thread(13, 70), thread(14, 1_000)],
  };
  // Samples at 500 (too early), 1500, 2500, ... of which the third waits; the last comes too late.
  const main = profileOf(-500, 1_000, [lmdb, split, split, '', split, lmdb, lmdb, lmdb, lmdb, lmdb]);
  const pool = profileOf(7_000, 1_000, [lmdb, lmdb, lmdb]);
  const rows = profileRows(
    [
      { thread: 10, profile: main },
      { thread: 14, profile: pool },
    ],
    before,
    after,
    6_000,
  );
  const us = (name: string) => rows.find((row) => row.name === name)?.us;

  it("divides a thread's CPU by its samples within the measured time", () => {
    expect(us('splitting responses')).toBeCloseTo((4_000 * 3) / 7);
    expect(us('storing and reading (LMDB)')).toBeCloseTo((4_000 * 4) / 7 + 1_000);
  });

  it('tells the threads without JavaScript apart', () => {
    expect(us("V8's helper threads: compiling, collecting")).toBe(300);
    expect(us("libuv's threads: LMDB's commits")).toBe(70);
    expect(us("the profiler's own threads")).toBe(20);
  });

  it('adds up to the CPU of the process, the rest named as not attributed', () => {
    expect(us('not attributed')).toBeCloseTo(6_000 - 4_000 - 300 - 20 - 70 - 1_000);
    expect(rows.reduce((sum, row) => sum + row.us, 0)).toBeCloseTo(6_000);
    const lines = profileTable(rows, 100).trimEnd().split('\n');
    expect(lines.length).toBe(rows.length + 2);
    expect(lines.at(-1)).toMatch(/^sum +60\.00 +100\.0 %$/);
  });

  it('attributes nothing of a thread that was never sampled', () => {
    const none = profileRows(
      [
        { thread: 10, profile: main },
        { thread: 14, profile: profileOf(0, 1, []) },
      ],
      before,
      after,
      6_000,
    );
    expect(none.find((row) => row.name === 'not attributed')?.us).toBeCloseTo(1_610);
    expect(none.reduce((sum, row) => sum + row.us, 0)).toBeCloseTo(6_000);
  });
});

describe('the command line of a profiled run', () => {
  it('needs no folder', () => {
    expect(parseOptions(['--profile']).profileDir).toMatch(/\.cache\/profile$/);
    expect(parseOptions(['--profile', '--events', '5000'])).toMatchObject({
      events: 5_000,
      profileDir: expect.stringMatching(/\.cache\/profile$/),
    });
    expect(parseOptions(['--profile', '/tmp/somewhere']).profileDir).toBe('/tmp/somewhere');
    expect(parseOptions(['--events', '5000']).profileDir).toBeUndefined();
  });
});
