/**
 * One run of the simulator: a federation from a seed, its story, and the comparison with a full join. The same seed gives the
 * same trace, line by line.
 */

import { hash } from 'node:crypto';
import { mkdtempSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { eventNidOf } from '../../src/store/events.js';
import { eventContext } from '../../src/store/timeline.js';
import type { Happening } from './faults.js';
import { Federation, HS2 } from './federation.js';
import { heal } from './heal.js';
import { whileAlive } from './network.js';
import type { AllowedDifference } from './oracle/compare-rooms.js';
import type { Probe } from './oracle/full-join.js';
import { compareWithFullJoin } from './oracle/full-join.js';
import type { CrashOptions } from './scenario.js';
import { Scenario } from './scenario.js';
import { Crash } from './store/crashing-store.js';

export interface SimulationOptions extends CrashOptions {
  readonly seed: number;
  readonly probe?: Probe | undefined;
}

export interface SimulationResult {
  readonly seed: number;
  readonly ok: boolean;
  /** Why it failed. */
  readonly problems: readonly string[];
  /**
   * `compared`; `compared-out` where our users were out of the room when it was made full (heal.ts); `refused` where no join came
   * about and nothing of one is left.
   */
  readonly outcome: 'compared' | 'compared-out' | 'refused' | 'failed';
  readonly trace: readonly string[];
  readonly traceHash: string;
  readonly roomVersion: string;
  readonly events: number;
  readonly rejected: number;
  /** Events whose verdict was another while the state was partial. */
  readonly flipped: number;
  /** The only events on which a full join may differ, each with the reason. */
  readonly allowed: readonly AllowedDifference[];
  /** What has gone wrong, and how often. */
  readonly happened: Readonly<Partial<Record<Happening, number>>>;
  /** Store writes of the joining server, all lives together. */
  readonly writes: number;
  readonly virtualMs: number;
}

/** A folder in memory where there is one: thousands of fsyncs would wear out a disk and take all the time. */
function newFolder(): string {
  const memory = statSync('/dev/shm', { throwIfNoEntry: false })?.isDirectory() === true;
  return mkdtempSync(join(memory ? '/dev/shm' : tmpdir(), 'joinery-simulation-'));
}

export async function runSimulation(options: SimulationOptions): Promise<SimulationResult> {
  const folder = newFolder();
  const federation = new Federation(options.seed, folder);
  const { time, hs1, hs2, hs3, network } = federation;
  const startTs = time.now();
  const answers = new Map<string, Buffer>();
  network.onAnswered = async (origin, to, request, answer) => {
    if (origin !== HS2 || answer.status !== 200 || !request.path.includes('/send_join/')) return;
    const whole = { ...request, query: [['omit_members', 'false']] as const };
    const host = [hs1, hs3].find(({ name }) => name === to);
    const life = host?.life;
    if (host === undefined || life === undefined) return;
    const eventId = decodeURIComponent(request.path.split('/')[6] ?? '');
    const answerWhole = () => host.spare(() => time.within(life, () => host.answer(origin, whole)));
    const { status, body } = await whileAlive(life, to, answerWhole);
    if (status === 200) answers.set(eventId, body);
  };
  const unhandled = process.listeners('unhandledRejection');
  const onUnhandled = (error: unknown): void => {
    if (!(error instanceof Crash)) federation.bugs.push(`unhandled: ${error instanceof Error ? error.stack : error}`);
  };
  process.removeAllListeners('unhandledRejection');
  process.on('unhandledRejection', onUnhandled);
  const uninstall = time.install();
  const scenario = new Scenario(federation, options);
  const problems: string[] = [];
  let outcome: SimulationResult['outcome'] = 'failed';
  let comparison = { events: 0, rejected: 0, flipped: 0, allowed: [] as readonly AllowedDifference[] };
  try {
    await scenario.prepare();
    await scenario.play();
    const healed = await heal(federation, scenario);
    outcome = ({ in: 'compared', out: 'compared-out', never: 'refused' } as const)[healed];
    for (const [server, eventId] of scenario.answered) {
      // A resident that has left, or is down, is not asked.
      if (server.life === undefined && server !== hs2) continue;
      const nid = server.life === undefined ? undefined : eventNidOf(server.store, eventId);
      if (nid === undefined || eventContext(server.store, nid) === undefined)
        problems.push(`${eventId} was answered by ${server.name} and is not there`);
    }
    if (healed !== 'never') {
      const compared = await compareWithFullJoin(federation, answers, folder, options.probe);
      const { differences, ...rest } = compared;
      problems.push(...differences);
      comparison = rest;
      for (const { eventId, name, softFailedBy, why } of rest.allowed)
        federation.note(`${eventId} may differ (${why}): ${name}, soft-failed by the ${softFailedBy} join only`);
    }
  } catch (error) {
    problems.push(error instanceof Error ? (error.stack ?? error.message) : String(error));
  }
  try {
    for (const server of [hs1, hs2, hs3]) server.stop();
    await federation.pass(1000);
  } finally {
    uninstall();
    process.removeListener('unhandledRejection', onUnhandled);
    for (const listener of unhandled) process.on('unhandledRejection', listener);
    rmSync(folder, { recursive: true, force: true });
  }
  problems.push(...federation.bugs);
  for (const { disk } of [hs1, hs2, hs3]) if (disk.refused > 0) federation.count('full-disk', disk.refused);
  const { trace } = federation;
  return {
    seed: options.seed,
    ok: problems.length === 0,
    problems,
    outcome: problems.length === 0 ? outcome : 'failed',
    trace,
    traceHash: hash('sha256', trace.join('\n'), 'hex').slice(0, 16),
    roomVersion: federation.rules.version,
    ...comparison,
    happened: Object.fromEntries(federation.happened),
    writes: hs2.writes,
    virtualMs: time.now() - startTs,
  };
}
