/**
 * `npm run simulate`: runs of the simulated federation, one line each. At the first failure its seed and the end of its trace,
 * and exit code 1.
 */

import { parseArgs } from 'node:util';
import type { CrashedRun } from './crash-every.js';
import { crashEvery } from './crash-every.js';
import type { SimulationResult } from './run-simulation.js';
import { runSimulation } from './run-simulation.js';

const EXIT_FAILED = 1;
const EXIT_WRONG_USE = 2;
const SEED_MAX = 2 ** 31;
const RUNS_MAX = 10_000_000;
const TRACE_LINES = 40;

const HELP = `npm run simulate -- [options]: a small federation in virtual time, with faults and crashes, checked against a full join

  --seed N         the first seed (default: from the clock)
  --runs M         how many seeds, one after another (default 10)
  --minutes N      no new run after this time (default: no limit)
  --crash-at K     the joining server crashes at its K-th store write, and no server crashes otherwise
  --crash-every K  ... at each K-th store write, in one run after another, before the commit and after it
  --after-commit   ... just after the commit instead of before it
  --trace          the whole trace
  --keep-going     do not stop at the first failure
  --help           this text

Exit codes: 0 nothing found, 1 a run failed, 2 wrong use.
Example: npm run simulate -- --seed 1 --runs 100
`;

function wrongUse(message: string): never {
  process.stderr.write(`${message}\n\n${HELP}`);
  process.exit(EXIT_WRONG_USE);
}

function optionsOf(argv: string[]) {
  try {
    return parseArgs({
      args: argv,
      strict: true,
      options: {
        seed: { type: 'string', default: String(Date.now() % SEED_MAX) },
        runs: { type: 'string', default: '10' },
        minutes: { type: 'string' },
        'crash-at': { type: 'string' },
        'crash-every': { type: 'string' },
        'after-commit': { type: 'boolean', default: false },
        trace: { type: 'boolean', default: false },
        'keep-going': { type: 'boolean', default: false },
        help: { type: 'boolean', default: false },
      },
    }).values;
  } catch (error) {
    return wrongUse(error instanceof Error ? error.message : String(error));
  }
}

function numberOf(name: string, text: string, max: number): number {
  const value = Number(text);
  if (!/^\d+$/.test(text) || value > max) wrongUse(`${name} ${text}: expected a whole number up to ${max}`);
  return value;
}

function lineOf(result: SimulationResult, ms: number): string {
  const { seed, roomVersion, events, rejected, flipped, allowed, happened, outcome, virtualMs, traceHash } = result;
  const byFull = allowed.filter(({ softFailedBy }) => softFailedBy === 'full');
  const byPartial = allowed.filter(({ softFailedBy }) => softFailedBy === 'partial');
  const names = (differing: typeof allowed) =>
    differing.map(({ eventId, why }) => ` ${eventId.slice(0, 8)} (${why})`).join('');
  return (
    `seed ${String(seed).padEnd(10)} v${roomVersion.padEnd(2)} ${String(events).padStart(3)} events ` +
    `${String(rejected).padStart(2)} rejected ${flipped} flipped ${byFull.length} soft-failed by a full join only${names(byFull)} ` +
    (byPartial.length === 0 ? '' : `${byPartial.length} by the partial join only${names(byPartial)} `) +
    `${happened['joiner-crash'] ?? 0} crashes, of residents ${happened['resident-crash'] ?? 0}, ` +
    `${happened['full-disk'] ?? 0} writes refused ${happened.forge ?? 0} forged ` +
    `${(virtualMs / 3_600_000).toFixed(1)} h in ${ms.toFixed(0)} ms  ${traceHash}  ${outcome}\n`
  );
}

const options = optionsOf(process.argv.slice(2));
if (options.help) {
  process.stdout.write(HELP);
  process.exit(0);
}
const first = numberOf('--seed', options.seed, SEED_MAX);
const runs = numberOf('--runs', options.runs, RUNS_MAX);
const minutes =
  options.minutes === undefined ? Number.POSITIVE_INFINITY : numberOf('--minutes', options.minutes, 10_000);
const crashAt = options['crash-at'] === undefined ? undefined : numberOf('--crash-at', options['crash-at'], 1_000_000);
const when = options['after-commit'] ? ('after-commit' as const) : ('before-commit' as const);
const plan = crashAt === undefined ? undefined : { atWrite: crashAt, when, losesBackground: true };
const every =
  options['crash-every'] === undefined ? undefined : numberOf('--crash-every', options['crash-every'], 1_000_000);
if (every === 0) wrongUse('--crash-every 0: expected 1 or more');

/** The runs that were asked for, each with the crash that was planned for it. */
async function* runsOf(): AsyncGenerator<Pick<CrashedRun, 'result'> & Partial<CrashedRun>> {
  for (let seed = first; seed < first + runs; seed++) {
    if (every !== undefined) yield* crashEvery({ seed, every, from: crashAt ?? 1 });
    else yield { ...plan, result: await runSimulation({ seed, plan, only: plan !== undefined }) };
  }
}

const startedMs = Date.now();
let failed = 0;
let beganMs = performance.now();
for await (const { atWrite, when: crashWhen, result } of runsOf()) {
  process.stdout.write(lineOf(result, performance.now() - beganMs));
  beganMs = performance.now();
  if (options.trace) process.stdout.write(`${result.trace.join('\n')}\n`);
  if (!result.ok) {
    failed += 1;
    if (!options.trace) process.stdout.write(`${result.trace.slice(-TRACE_LINES).join('\n')}\n`);
    const crash =
      atWrite === undefined ? '' : ` --crash-at ${atWrite}${crashWhen === 'after-commit' ? ' --after-commit' : ''}`;
    process.stdout.write(
      `${result.problems.join('\n')}\nagain: npm run simulate -- --seed ${result.seed} --runs 1${crash} --trace\n`,
    );
    if (!options['keep-going']) break;
  }
  if (Date.now() - startedMs >= minutes * 60_000) break;
}
process.exit(failed === 0 ? 0 : EXIT_FAILED);
