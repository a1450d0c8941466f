/**
 * `npm run fuzz`: every parser of what comes from the wire on bad input, for as long as is asked. One line a target; at the
 * first failure seed, run and input, and exit code 1.
 */

import { parseArgs } from 'node:util';
import { FUZZ_TARGETS } from './fuzz-targets.js';
import type { FuzzFailure } from './run-target.js';
import { watchTarget } from './watch-target.js';

const EXIT_FAILED = 1;
const EXIT_WRONG_USE = 2;
const MINUTE_MS = 60_000;
/** A week: more is a typing error. */
const MINUTES_MAX = 7 * 24 * 60;
const SEED_MAX = 2 ** 31;
const RUNS_MAX = 2 ** 30;

const HELP = `npm run fuzz -- [options]: feeds every parser bad input

  --minutes N     for how long, all targets together (default 1)
  --seed S        what the inputs follow from (default: from the clock)
  --target NAME   one of ${FUZZ_TARGETS.map(({ name }) => name).join(', ')}
  --run R         only this run, as a failure names it (with --seed and --target)
  --help          this text

Exit codes: 0 nothing found, 1 a failure was found, 2 wrong use.
Example: npm run fuzz -- --minutes 10 --seed 7
`;

function wrongUse(message: string): never {
  process.stderr.write(`${message}\n\n${HELP}`);
  process.exit(EXIT_WRONG_USE);
}

function numberOf(name: string, text: string, min: number, max: number): number {
  const value = Number(text);
  if (!/^\d+(\.\d+)?$/.test(text) || value < min || value > max) wrongUse(`${name} ${text}: expected ${min} to ${max}`);
  return value;
}

function optionsOf(argv: string[]) {
  try {
    return parseArgs({
      args: argv,
      strict: true,
      options: {
        minutes: { type: 'string', default: '1' },
        seed: { type: 'string', default: String(Date.now() % SEED_MAX) },
        target: { type: 'string' },
        run: { type: 'string' },
        help: { type: 'boolean', default: false },
      },
    }).values;
  } catch (error) {
    return wrongUse(error instanceof Error ? error.message : String(error));
  }
}

function report({ target, seed, run, reason, input }: FuzzFailure): void {
  process.stdout.write(
    `${reason}\n\ninput, ${input.length} bytes: ${JSON.stringify(input.toString('latin1'))}\nbase64: ${input.toString('base64')}\n` +
      `again: npm run fuzz -- --target ${target} --seed ${seed} --run ${run}\n`,
  );
}

const options = optionsOf(process.argv.slice(2));
if (options.help) {
  process.stdout.write(HELP);
  process.exit(0);
}
const targets = FUZZ_TARGETS.filter(({ name }) => options.target === undefined || name === options.target);
if (targets.length === 0) wrongUse(`--target ${options.target}: no such target`);
const seed = Math.floor(numberOf('--seed', options.seed, 0, SEED_MAX));
const minutes = numberOf('--minutes', options.minutes, 0, MINUTES_MAX);
const firstRun = options.run === undefined ? 0 : Math.floor(numberOf('--run', options.run, 0, RUNS_MAX));
let failures = 0;
for (const target of targets) {
  const { runs, failure } = await watchTarget(target, {
    seed,
    firstRun,
    runs: options.run === undefined ? RUNS_MAX : 1,
    ms: (minutes * MINUTE_MS) / targets.length,
    threadFile: new URL('./fuzz-thread.js', import.meta.url),
  });
  const verdict = failure === undefined ? 'ok' : `FAILED at run ${failure.run}`;
  process.stdout.write(`${target.name.padEnd(16)} ${String(runs).padStart(9)} runs  seed ${seed}  ${verdict}\n`);
  if (failure === undefined) continue;
  failures += 1;
  report(failure);
}
process.exit(failures === 0 ? 0 : EXIT_FAILED);
