/**
 * What `npm run simulate` does with its arguments: runs of the simulated federation, one line each. At the first failure its
 * seed and the end of its trace, and exit code 1.
 */

import { parseArgs } from 'node:util';
import type { CrashedRun } from './crash-every.js';
import { crashEvery } from './crash-every.js';
import type { runSimulation, SimulationResult } from './run-simulation.js';

const EXIT_FAILED = 1;
const EXIT_WRONG_USE = 2;
const SEED_MAX = 2 ** 31;
const RUNS_MAX = 10_000_000;
const MINUTES_MAX = 10_000;
const WRITES_MAX = 1_000_000;
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

class WrongUse extends Error {}

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
    throw new WrongUse(error instanceof Error ? error.message : String(error));
  }
}

function numberOf(name: string, text: string, least: number, most: number): number {
  const value = Number(text);
  if (!/^\d+$/.test(text) || value < least || value > most)
    throw new WrongUse(`--${name} ${text}: expected a whole number from ${least} to ${most}`);
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

/** Options as they were meant. Throws WrongUse. */
function settingsOf(options: ReturnType<typeof optionsOf>) {
  const numbered = (name: 'minutes' | 'crash-at' | 'crash-every', least: number, most: number) => {
    const text = options[name];
    return text === undefined ? undefined : numberOf(name, text, least, most);
  };
  const crashAt = numbered('crash-at', 1, WRITES_MAX);
  const every = numbered('crash-every', 1, WRITES_MAX);
  if (options['after-commit'] && (crashAt === undefined || every !== undefined))
    throw new WrongUse('--after-commit goes with --crash-at, and --crash-every takes both');
  const when = options['after-commit'] ? ('after-commit' as const) : ('before-commit' as const);
  return {
    first: numberOf('seed', options.seed, 0, SEED_MAX),
    runs: numberOf('runs', options.runs, 1, RUNS_MAX),
    minutes: numbered('minutes', 0, MINUTES_MAX) ?? Number.POSITIVE_INFINITY,
    from: crashAt ?? 1,
    every,
    plan: crashAt === undefined ? undefined : { atWrite: crashAt, when, losesBackground: true },
  };
}

export interface Surroundings {
  /** Standard output and error. */
  readonly print: (text: string) => void;
  readonly complain: (text: string) => void;
  readonly run: typeof runSimulation;
}

/** Runs the command; the exit code. */
export async function simulateCommand(argv: string[], { print, complain, run }: Surroundings): Promise<number> {
  try {
    const options = optionsOf(argv);
    if (options.help) {
      print(HELP);
      return 0;
    }
    return await simulate(settingsOf(options), options, { print, complain, run });
  } catch (error) {
    if (!(error instanceof WrongUse)) throw error;
    complain(`${error.message}\n\n${HELP}`);
    return EXIT_WRONG_USE;
  }
}

async function simulate(
  { first, runs, minutes, from, every, plan }: ReturnType<typeof settingsOf>,
  { trace, 'keep-going': keepsGoing }: ReturnType<typeof optionsOf>,
  { print, run }: Surroundings,
): Promise<number> {
  /** The runs that were asked for, each with the crash that was planned for it. */
  async function* runsOf(): AsyncGenerator<Pick<CrashedRun, 'result'> & Partial<CrashedRun>> {
    for (let seed = first; seed < first + runs; seed++) {
      if (every !== undefined) yield* crashEvery({ seed, every, from });
      else yield { ...plan, result: await run({ seed, plan, only: plan !== undefined }) };
    }
  }
  const startedMs = Date.now();
  let failed = 0;
  let beganMs = performance.now();
  for await (const { atWrite, when, result } of runsOf()) {
    print(lineOf(result, performance.now() - beganMs));
    beganMs = performance.now();
    if (trace) print(`${result.trace.join('\n')}\n`);
    if (!result.ok) {
      failed += 1;
      if (!trace) print(`${result.trace.slice(-TRACE_LINES).join('\n')}\n`);
      const crash =
        atWrite === undefined ? '' : ` --crash-at ${atWrite}${when === 'after-commit' ? ' --after-commit' : ''}`;
      const again = `npm run simulate -- --seed ${result.seed} --runs 1${crash} --trace`;
      print(`${result.problems.join('\n')}\nagain: ${again}\n`);
      if (!keepsGoing) break;
    }
    if (Date.now() - startedMs >= minutes * 60_000) break;
  }
  return failed === 0 ? 0 : EXIT_FAILED;
}
