/**
 * The simulated federation: fixed seeds that once found something, a crash at every few store writes, the same
 * trace twice; and with a rule broken on purpose it must fail. `npm run simulate` runs as many more as one likes.
 */

import { afterEach, describe, expect, it, vi } from 'vitest';
import type { SimulationOptions, SimulationResult } from '../../scripts/simulate/run-simulation.js';
import { runSimulation } from '../../scripts/simulate/run-simulation.js';

/** Runs take a second or two of a quiet core. */
const RUN_MS = 120_000;

/** In these an event that was accepted while the state was partial turns out to be rejected. */
const FLIPPING_SEEDS = [1];

/** Runs one and fails with what somebody needs to run it again. */
async function run(options: SimulationOptions): Promise<SimulationResult> {
  const result = await runSimulation(options);
  const again = `npm run simulate -- --seed ${options.seed} --runs 1 --trace`;
  expect(result.problems, [again, ...result.trace.slice(-20)].join('\n')).toEqual([]);
  return result;
}

describe('a partial join and its resynchronisation, in a federation where things go wrong', { timeout: RUN_MS }, () => {
  it.each([
    [2, 1, 'in one of which what a full join would have soft-failed is the only difference'],
    [14, 2, 'with three crashes, in room version 12'],
    [15, 0, 'in which an event that was dropped comes again'],
  ])(
    'ends as a full join that received the same events: seed %i, %i soft-failed by a full join, %s',
    async (seed, n) => {
      const result = await run({ seed });
      expect(result.outcome).toBe('compared');
      expect(result.softFailedInFull).toHaveLength(n);
    },
  );

  it('ends so when the joining server crashes at a store write, before its commit and after it', async () => {
    for (let atWrite = 2, n = 0; n < 6; atWrite += 5, n++) {
      const when = n % 2 === 0 ? ('before-commit' as const) : ('after-commit' as const);
      const result = await run({ seed: 4, plan: { atWrite, when, losesBackground: true }, only: true });
      expect(result.crashes, `write ${atWrite} was reached`).toBe(1);
    }
  });

  it('is the same, line by line, for the same seed', async () => {
    const [first, second] = [await runSimulation({ seed: 14 }), await runSimulation({ seed: 14 })];
    expect(second.trace).toEqual(first.trace);
    expect(second.traceHash).toBe(first.traceHash);
    expect(first.crashes).toBeGreaterThan(0);
  });
});

/** Runs seeds with one function of a module replaced, until one fails; why it did. */
async function problemsWhereBroken(
  seeds: readonly number[],
  module: string,
  replace: (original: Record<string, unknown>) => Record<string, unknown>,
): Promise<readonly string[]> {
  vi.resetModules();
  vi.doMock(`/src/${module}.ts`, async (load) => {
    const original = await load<Record<string, unknown>>();
    return { ...original, ...replace(original) };
  });
  const broken = await import('../../scripts/simulate/run-simulation.js');
  for (const seed of seeds) {
    const { problems } = await broken.runSimulation({ seed });
    if (problems.length > 0) return problems;
  }
  return [];
}

describe('the simulator', { timeout: RUN_MS }, () => {
  afterEach(() => {
    vi.doUnmock('/src/partial-state/put-verdict.ts');
    vi.resetModules();
  });

  it('fails when what was wrongly accepted while the state was partial stays accepted', async () => {
    const problems = await problemsWhereBroken(FLIPPING_SEEDS, 'partial-state/put-verdict', ({ putVerdict }) => ({
      putVerdict: (writer: never, room: never, event: never, before: never, _refusal: never, own: never) =>
        (putVerdict as (...values: never[]) => void)(writer, room, event, before, undefined as never, own),
    }));
    expect(problems.join('\n')).toMatch(/is accepted, a full join has it rejected/);
  });
});
