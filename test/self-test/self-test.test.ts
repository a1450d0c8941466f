/** The self-test of a starting server: it passes on a sound build, and a broken one does not get past it. */

import { mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, afterEach, describe, expect, it, vi } from 'vitest';
import * as judging from '../../src/room/intake/judge-events.js';
import { SelfTestError, selfTest } from '../../src/self-test/self-test.js';

const log = { debug: () => undefined, info: () => undefined, warn: () => undefined, error: () => undefined };
const folder = mkdtempSync(join(tmpdir(), 'joinery-test-'));

vi.stubEnv('TMPDIR', folder);
afterEach(() => {
  vi.restoreAllMocks();
});
afterAll(() => {
  vi.unstubAllEnvs();
  rmSync(folder, { recursive: true });
});

describe('the self-test at start', () => {
  it('joins a room that it serves to itself, and leaves nothing behind', async () => {
    await selfTest(log);
    expect(readdirSync(folder)).toEqual([]);
  });

  it('is made once more where it failed once: a machine that stood still misses deadlines', async () => {
    vi.spyOn(judging, 'judgeEvents').mockRejectedValueOnce(new Error('too late'));
    await selfTest(log);
    expect(judging.judgeEvents).toHaveBeenCalled();
    expect(readdirSync(folder)).toEqual([]);
  });

  it('refuses to go on when a rule is broken', async () => {
    vi.spyOn(judging, 'judgeEvents').mockImplementation(async (_server, _room, nids) => ({
      verdicts: Array.from(nids, () => 'rejected' as const),
      refusals: [],
    }));
    await expect(selfTest(log)).rejects.toThrow(SelfTestError);
    expect(readdirSync(folder)).toEqual([]);
  });
});
