/**
 * The main job on small rooms, with real processes, threads, sockets and certificates: what `npm run hq` proves at Matrix
 * HQ's size. Runs what is compiled under dist/, as `npm test` does before it starts.
 */

import { spawn } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, describe, expect, it } from 'vitest';

const HQ = fileURLToPath(new URL('../../dist/scripts/hq/hq.js', import.meta.url));
const RUN_MS_MAX = 120_000;
const folder = mkdtempSync(join(tmpdir(), 'joinery-main-job-'));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

interface Run {
  readonly code: number | null;
  readonly output: string;
  readonly report: Readonly<Record<string, unknown>>;
}

function rehearse(name: string, ...options: string[]): Promise<Run> {
  const json = join(folder, `${name}.json`);
  const child = spawn(process.execPath, [HQ, '--events', '4000', '--json', json, ...options]);
  let output = '';
  child.stdout.on('data', (text) => {
    output += String(text);
  });
  child.stderr.on('data', (text) => {
    output += String(text);
  });
  return new Promise((resolve, reject) => {
    child.on('error', reject);
    child.on('close', (code) => resolve({ code, output, report: JSON.parse(readFileSync(json, 'utf8')) }));
  });
}

describe('a server that joins a room over federation', () => {
  it.each(['11', '12'])(
    'ends with the state of the manifest after partial state and a resync, in room version %s',
    async (version) => {
      const { code, output, report } = await rehearse(`partial-${version}`, '--room-version', version);
      expect(code, output).toBe(0);
      expect(report).toMatchObject({
        mode: 'partial',
        room_version: version,
        state_matches: true,
        refusals_match: true,
        resident_send_join_ms: expect.any(Number),
        other_room_send_ms: { sends: expect.any(Number) },
      });
    },
    RUN_MS_MAX,
  );

  it(
    'ends with the same state when it asks for the full state at once',
    async () => {
      const partial = await rehearse('again', '--seed', 'both-ways');
      const full = await rehearse('full', '--seed', 'both-ways', '--full');
      expect(full.code, full.output).toBe(0);
      expect(full.report).toMatchObject({ mode: 'full', state_matches: true, state_hash: partial.report.state_hash });
    },
    RUN_MS_MAX,
  );

  it(
    'is caught when one planted event is changed behind the manifest (positive control)',
    async () => {
      const { code, output } = await rehearse('sabotage', '--sabotage');
      expect(code).toBe(1);
      expect(output).toContain('differences');
    },
    RUN_MS_MAX,
  );
});
