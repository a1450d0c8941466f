/**
 * Real processes that are killed at named points and started again: a few of the crashes of `npm run hq -- --crash all`, on
 * a small room, and a server that must not be started twice. Runs what is compiled under dist/.
 */

import { spawn, spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, truncateSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, describe, expect, it } from 'vitest';
import { generate } from '../../src/cli/generate.js';

const HQ = fileURLToPath(new URL('../../dist/scripts/hq/hq.js', import.meta.url));
const JOINERY = fileURLToPath(new URL('../../dist/src/main.js', import.meta.url));
const RUN_MS_MAX = 300_000;
const folder = mkdtempSync(join(tmpdir(), 'joinery-crashes-'));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

const POINTS = [
  // Before the room is there, in the middle of its state, and between a commit and its answer.
  'join-write:2',
  'resync-write:6',
  'answer:PUT /_matrix/client/v3/rooms/{roomId}/send/{eventType}/{txnId}',
  // Both servers at once: neither has what the other was about to say.
  'both@stage:fetching:running',
];

describe('a server that is killed', () => {
  it(
    'goes on where it was when it is started again, and does nothing twice that it had stored',
    async () => {
      const json = join(folder, 'crashes.json');
      const options = ['--events', '4000', '--threads', '1', '--crash', POINTS.join(','), '--json', json];
      const child = spawn(process.execPath, [HQ, ...options]);
      let output = '';
      for (const stream of [child.stdout, child.stderr]) {
        stream.on('data', (text) => {
          output += String(text);
        });
      }
      const code = await new Promise((resolve) => child.on('close', resolve));
      expect(code, output).toBe(0);
      const report = JSON.parse(readFileSync(json, 'utf8')) as { results: object[] };
      expect(report).toMatchObject({ holds: true, rewritten_events: 0 });
      const held = { reached: true, state_matches: true, refusals_match: true, messages_kept: true };
      expect(report.results).toMatchObject(POINTS.map((point) => ({ point, ...held })));
    },
    RUN_MS_MAX,
  );
});

describe('joinery serve', () => {
  it(
    'refuses a folder that another process serves, or that is damaged, and says which and why',
    async () => {
      const files = await generate({ serverName: 'a.test', dir: join(folder, 'a'), clientPort: 0, federationPort: 0 });
      const serve = () => [JOINERY, 'serve', '--config', files.config];
      const first = spawn(process.execPath, serve(), { stdio: ['ignore', 'pipe', 'inherit'] });
      await new Promise((resolve) => first.stdout.once('data', resolve));
      const second = spawnSync(process.execPath, serve(), { encoding: 'utf8' });
      const data = join(folder, 'a', 'data');
      expect(second.status).toBe(1);
      expect(second.stderr).toBe(
        `joinery: ${data} is in use by the joinery process ${first.pid}: stop that one first, or name another data_dir\n`,
      );
      const ended = new Promise((resolve) => first.once('exit', resolve));
      first.kill('SIGKILL');
      await ended;
      truncateSync(join(data, 'store', 'data.mdb'), 4_096);
      const third = spawnSync(process.execPath, serve(), { encoding: 'utf8' });
      expect(third.status).toBe(1);
      expect(third.stderr).toMatch(/^joinery: .*data\.mdb is damaged: it ends after 4096 bytes\. Nothing was changed/);
    },
    RUN_MS_MAX,
  );
});
