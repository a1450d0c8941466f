/**
 * The main job on small rooms, with real processes, threads, sockets and certificates: what `npm run hq` proves at Matrix
 * HQ's size. Runs what is compiled under dist/, as `npm test` does before it starts.
 */

import { spawn } from 'node:child_process';
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync } from 'node:fs';
import { availableParallelism, cpus, tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { JOINER, RESIDENT } from '../../scripts/hq/room/plan/room-shape.js';

const HQ = fileURLToPath(new URL('../../dist/scripts/hq/hq.js', import.meta.url));
const RUN_MS_MAX = 120_000;
const EVENTS = 4000;
const THREADS = 2;
const folder = mkdtempSync(join(tmpdir(), 'joinery-main-job-'));
/** Where the runs make their own folders. */
const temporary = join(folder, 'tmp');
mkdirSync(temporary);
afterAll(() => rmSync(folder, { recursive: true, force: true }));

interface Run {
  readonly code: number | null;
  readonly output: string;
  readonly report: Readonly<Record<string, unknown>>;
}

function rehearse(name: string, ...options: string[]): Promise<Run> {
  const json = join(folder, `${name}.json`);
  const always = ['--events', `${EVENTS}`, '--threads', `${THREADS}`, '--json', json];
  const child = spawn(process.execPath, [HQ, ...always, ...options], { env: { ...process.env, TMPDIR: temporary } });
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

/** Numbers that say how much of something there was: never none in a run that holds. */
const COUNTS = [
  ...['events', 'state_events', 'members', 'threads', 'cores', 'send_join_bytes', 'resync_bytes'],
  ...['verified_signatures', 'stored_events', 'rejected_events', 'dropped_events'],
];
/** Measured times, costs and rates. */
const FIGURES = [
  ...['join_ms', 'usable_ms', 'resync_ms', 'resync_events_per_s', 'joiner_cpu_us_per_event'],
  ...['resident_cpu_us_per_event', 'verify_us_per_signature', 'verify_only_events_per_s', 'cpu_efficiency'],
  ...['efficiency', 'event_loop_delay_p99_ms', 'resident_send_join_ms'],
];
const STAGES = [
  ...['make_join', 'send_join', 'room usable', 'state_ids', 'fetching', 'verifying', 'authorising', 'storing'],
  'un-partial-stating',
];

describe('a server that joins a room over federation', () => {
  const kept = join(folder, 'kept');
  let partial: Run;
  beforeAll(async () => {
    partial = await rehearse('partial', '--keep', kept);
  }, RUN_MS_MAX);

  it('ends with the state of the manifest after partial state and a resync', () => {
    expect(partial.code, partial.output).toBe(0);
    expect(partial.report).toMatchObject({
      ...{ mode: 'partial', room_version: '11', seed: 'joinery', events: EVENTS, threads: THREADS },
      ...{ state_matches: true, refusals_match: true, state_hash: expect.stringMatching(/^[0-9a-f]{64}$/) },
      other_room_send_ms: { sends: expect.any(Number) },
    });
    expect(partial.output).toContain('All holds.');
  });

  it('says in its JSON what it counted and measured, and on which machine', () => {
    const { report } = partial;
    for (const name of COUNTS) expect(report[name], name).toSatisfy((n) => Number.isSafeInteger(n) && Number(n) > 0);
    for (const name of FIGURES) expect(report[name], name).toSatisfy((n) => Number.isFinite(n) && Number(n) > 0);
    for (const name of ['peak_anon_mb', 'peak_rss_mb']) {
      const peaks = report[name] as Record<string, number>;
      expect(Object.keys(peaks), name).toEqual(['joiner', 'resident']);
      for (const megabytes of Object.values(peaks)) expect(megabytes, name).toBeGreaterThan(10);
    }
    expect(report).toMatchObject({ node: process.version, cpu: cpus()[0]?.model, cores: availableParallelism() });
  });

  it('has figures in its JSON that follow from one another', () => {
    const of = (name: string) => Number(partial.report[name]);
    // Each is rounded by itself, so that the last digit may differ.
    expect(of('cpu_efficiency')).toBeCloseTo(of('verify_us_per_signature') / of('joiner_cpu_us_per_event'), 2);
    expect(of('efficiency')).toBeCloseTo(of('resync_events_per_s') / of('verify_only_events_per_s'), 2);
    expect(of('resync_events_per_s') / ((EVENTS / of('resync_ms')) * 1000)).toBeCloseTo(1, 2);
    expect(of('usable_ms')).toBeGreaterThan(of('join_ms'));
    expect(of('send_join_bytes')).toBeLessThan(of('resync_bytes'));
    expect(of('members')).toBeLessThan(of('state_events'));
    expect(of('stored_events')).toBeLessThanOrEqual(EVENTS);
    // Each planted event counts once, and again where it was redacted before it was rejected.
    const gone = of('rejected_events') + of('dropped_events');
    expect(gone).toBeLessThanOrEqual(of('planted_events'));
    expect(gone + of('redacted_events')).toBeGreaterThanOrEqual(of('planted_events'));
  });

  it('prints plain lines where there is no terminal: each stage ends, in its order', () => {
    const ends = [...partial.output.matchAll(/^(\S.*?) +done {2}/gm)].map(([, title]) => title);
    expect(ends.toSorted()).toEqual(STAGES.toSorted());
    expect([ends[0], ends.at(-1)]).toEqual(['make_join', 'un-partial-stating']);
    expect(partial.output).toMatch(/^storing +done {2}\d+\/\d+, \d+\/s.*, \d+ ms$/m);
    // No bar, and nothing that moves a cursor.
    for (const control of ['\u001b', '\r']) expect(partial.output).not.toContain(control);
  });

  it('keeps the folders of both servers where it is told to', () => {
    expect(readdirSync(kept)).toEqual(expect.arrayContaining([RESIDENT, JOINER]));
    for (const server of [RESIDENT, JOINER]) {
      expect(readdirSync(join(kept, server))).toEqual(expect.arrayContaining(['joinery.yaml', 'signing.key']));
      expect(statSync(join(kept, server, 'data/store/data.mdb')).size).toBeGreaterThan(EVENTS * 100);
    }
  });

  it(
    'does so in room version 12, and leaves no folder behind',
    async () => {
      const { code, output, report } = await rehearse('partial-12', '--room-version', '12');
      expect(code, output).toBe(0);
      expect(report).toMatchObject({ mode: 'partial', room_version: '12', state_matches: true, refusals_match: true });
      expect(readdirSync(temporary)).toEqual([]);
    },
    RUN_MS_MAX,
  );

  it(
    'ends with the same state when it asks for the full state at once',
    async () => {
      const full = await rehearse('full', '--full');
      expect(full.code, full.output).toBe(0);
      expect(full.report).toMatchObject({ mode: 'full', state_matches: true, state_hash: partial.report.state_hash });
      expect(Object.keys(full.report)).toEqual(Object.keys(partial.report));
    },
    RUN_MS_MAX,
  );

  it(
    'is caught when one planted event is changed behind the manifest (positive control)',
    async () => {
      const { code, output, report } = await rehearse('sabotage', '--sabotage');
      expect(code).toBe(1);
      const [, count, listed = ''] = /^(\d+) differences, the first of them:\n((?: {2}.*\n)*)/m.exec(output) ?? [];
      expect(listed.trimEnd().split('\n')).toHaveLength(Number(count));
      expect(report).toMatchObject({ sabotage: true, refusals_match: false });
      expect(output).not.toContain('All holds.');
    },
    RUN_MS_MAX,
  );
});
