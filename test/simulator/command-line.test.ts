/** `npm run simulate` as a command: its options, what it prints, its exit codes. */

import { spawnSync } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { describe, expect, it } from 'vitest';
import { simulateCommand } from '../../scripts/simulate/command.js';
import type { SimulationOptions, SimulationResult } from '../../scripts/simulate/run-simulation.js';

const COMMAND = fileURLToPath(new URL('../../dist/scripts/simulate/simulate.js', import.meta.url));
/** Its room lets nobody in, so that it ends early. */
const SHORT_SEED = 18;
const COMMAND_MS = 60_000;

const GOOD: Omit<SimulationResult, 'seed'> = {
  ok: true,
  problems: [],
  outcome: 'compared',
  trace: ['0.000 one thing', '0.001 another'],
  traceHash: '0123456789abcdef',
  roomVersion: '11',
  events: 3,
  rejected: 0,
  flipped: 0,
  allowed: [],
  happened: {},
  writes: 7,
  virtualMs: 1,
};

/** Runs the command on stories that are made up; `fails`: the seeds that fail. */
async function simulate(args: readonly string[], fails: readonly number[] = []) {
  const told: SimulationOptions[] = [];
  let printed = '';
  let complained = '';
  const status = await simulateCommand([...args], {
    print: (text) => {
      printed += text;
    },
    complain: (text) => {
      complained += text;
    },
    run: async (options) => {
      told.push(options);
      const { seed } = options;
      const bad = { ok: false, outcome: 'failed', problems: [`${seed} went wrong`] } as const;
      return { ...GOOD, seed, ...(fails.includes(seed) ? bad : {}) };
    },
  });
  return { status, printed, complained, told };
}

describe('npm run simulate', () => {
  it.each([
    [['--sed', '1'], "Unknown option '--sed'"],
    [['7'], "Unexpected argument '7'"],
    [['--seed'], "Option '--seed <value>' argument missing"],
    [['--seed', 'one'], '--seed one: expected a whole number from 0 to 2147483648'],
    [['--seed', '2147483649'], '--seed 2147483649: expected a whole number from 0 to 2147483648'],
    [['--runs', '1.5'], '--runs 1.5: expected a whole number from 1 to 10000000'],
    [['--runs', '0'], '--runs 0: expected a whole number from 1 to 10000000'],
    [['--runs=-1'], '--runs -1: expected'],
    [['--minutes', ''], '--minutes : expected a whole number from 0 to 10000'],
    [['--crash-at', '0'], '--crash-at 0: expected a whole number from 1 to 1000000'],
    [['--crash-every', '0'], '--crash-every 0: expected a whole number from 1 to 1000000'],
    [['--after-commit'], '--after-commit goes with --crash-at'],
  ])('ends with 2 for %j, says what is wrong and how it is used, and runs nothing', async (args, message) => {
    const { status, printed, complained, told } = await simulate(args);
    expect(complained).toContain(message);
    expect(complained).toContain('npm run simulate -- [options]');
    expect({ status, printed, told }).toEqual({ status: 2, printed: '', told: [] });
  });

  it('prints a line a run, seed after seed, and ends with 0 where none failed', async () => {
    const { status, printed, complained, told } = await simulate(['--seed', '5', '--runs', '3']);
    expect({ status, complained }).toEqual({ status: 0, complained: '' });
    expect(told.map(({ seed }) => seed)).toEqual([5, 6, 7]);
    expect(printed.match(/^seed \d+ .* compared$/gm)).toHaveLength(3);
    expect(printed.trimEnd().split('\n')).toHaveLength(3);
  });

  it('ends with 1 at the first failure and says its seed, its trace, and how to run it again', async () => {
    const { status, printed, told } = await simulate(['--seed', '5', '--runs', '3'], [6]);
    expect(status).toBe(1);
    expect(told.map(({ seed }) => seed)).toEqual([5, 6]);
    expect(printed).toMatch(/^seed 6 .* failed\n0\.000 one thing\n0\.001 another\n6 went wrong\nagain: /m);
    expect(printed).toMatch(/again: npm run simulate -- --seed 6 --runs 1 --trace\n$/);
  });

  it('goes on after a failure where it is told to, and still ends with 1', async () => {
    const { status, told } = await simulate(['--seed', '5', '--runs', '3', '--keep-going'], [5]);
    expect({ status, runs: told.length }).toEqual({ status: 1, runs: 3 });
  });

  it('hands on a crash that was planned, and says it again at a failure', async () => {
    const { printed, told } = await simulate(['--seed', '5', '--runs', '1', '--crash-at', '9', '--after-commit'], [5]);
    const plan = { atWrite: 9, when: 'after-commit', losesBackground: true };
    expect(told).toEqual([{ seed: 5, plan, only: true }]);
    expect(printed).toContain('again: npm run simulate -- --seed 5 --runs 1 --crash-at 9 --after-commit --trace');
  });

  it.each([
    [['--runs', 'many'], { status: 2, stdout: /^$/, stderr: /^--runs many: expected/ }],
    [['--seed', `${SHORT_SEED}`, '--runs', '1'], { status: 0, stdout: /^seed 18 .* refused\n$/, stderr: /^$/ }],
  ])('is what the process does: %j', { timeout: COMMAND_MS }, (args, { status, stdout, stderr }) => {
    const ended = spawnSync(process.execPath, [COMMAND, ...args], { encoding: 'utf8' });
    expect(ended).toMatchObject({
      status,
      stdout: expect.stringMatching(stdout),
      stderr: expect.stringMatching(stderr),
    });
  });
});
