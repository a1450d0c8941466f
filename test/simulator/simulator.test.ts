/**
 * The simulated federation: fixed seeds for what a run can be and for each fault, a fresh one, a crash at every few store
 * writes, the same trace twice; and with a rule broken on purpose it must fail. `npm run simulate` runs as many more as one
 * likes.
 */

import { afterEach, describe, expect, it, vi } from 'vitest';
import { crashEvery } from '../../scripts/simulate/crash-every.js';
import type { Happening } from '../../scripts/simulate/faults.js';
import { HAPPENINGS } from '../../scripts/simulate/faults.js';
import type { SimulationResult } from '../../scripts/simulate/run-simulation.js';
import { runSimulation } from '../../scripts/simulate/run-simulation.js';

/** Runs take a second or two of a quiet core. */
const RUN_MS = 120_000;

/** In these an event that was accepted while the state was partial turns out to be rejected. */
const FLIPPING_SEEDS = [1];

/** What a full join soft-fails of the first of these, and a partial one does not while its state is partial. */
const SOFT_FAILED_IN_FULL = [
  '$4MjNh7w (m.room.member @u1:p1 join) of @u1:p1',
  '$x-BCeNA (m.room.member @u4:p2 join) of @u4:p2',
  '$GbEjctb (m.room.topic) of @u2:p1',
];

/** In this one the joining server crashes twice, and so do residents. */
const CRASHING_SEED = 8;

/** In this one the joining server's disk is full while it joins, and later another's. */
const FULL_DISK_SEED = 2000041;

/** In these the network does what it does not in the others; with the others they have every fault there is. */
const FAULTY_SEEDS = [132, 139, 23];

/** In this one the joining server is given forged events. */
const FORGED_SEEDS = [23];

/** Its room is made full when our users are out of it. */
const OUT_SEED = 6;

const FIXED_SEEDS = [...FLIPPING_SEEDS, CRASHING_SEED, OUT_SEED, FULL_DISK_SEED, ...FAULTY_SEEDS];

/** Fresh seeds are taken from the clock, below this. */
const FRESH_SEEDS = 2 ** 31;

/** In the story that is told again with a crash at every few writes; `--crash-every 1` takes each of them. */
const CRASHED_SEED = 35;
const CRASH_EVERY = 36;
const CRASHED_RUNS_MIN = 8;

const results = new Map<number, SimulationResult>();

/** Runs one, unless it has been run, and fails with what somebody needs to run it again. */
async function run(seed: number): Promise<SimulationResult> {
  const result = results.get(seed) ?? (await runSimulation({ seed }));
  results.set(seed, result);
  const again = `npm run simulate -- --seed ${seed} --runs 1 --trace`;
  expect(result.problems, [again, ...result.trace.slice(-20)].join('\n')).toEqual([]);
  return result;
}

describe('a partial join and its resynchronisation, in a federation where things go wrong', { timeout: RUN_MS }, () => {
  it.each([
    [1, 'compared', 2, SOFT_FAILED_IN_FULL, 'in which what was believed turns out to be wrong'],
    [
      CRASHING_SEED,
      'compared',
      0,
      [],
      'with two crashes of the joining server and two of residents, in room version 12',
    ],
    [OUT_SEED, 'compared-out', 0, [], 'whose room is made full when our users are out of it'],
  ])(
    'ends as a full join that received the same events: seed %i, %s, %i flipped, but for %o, %s',
    async (seed, outcome, flipped, names) => {
      const result = await run(seed);
      expect(result.outcome).toBe(outcome);
      expect(result.flipped).toBe(flipped);
      if (seed === CRASHING_SEED) expect(result.happened).toMatchObject({ 'joiner-crash': 2, 'resident-crash': 2 });
      const expected = names.map((name) => ({ name, softFailedBy: 'full', why: 'while-partial' }));
      expect(result.allowed).toMatchObject(expected);
      expect(result.allowed).toHaveLength(names.length);
    },
  );

  it('ends so for a seed that has never been run', async () => {
    await run(Date.now() % FRESH_SEEDS);
  });

  it('ends so where a server cannot write for a while, its disk being full', async () => {
    expect((await run(FULL_DISK_SEED)).happened['full-disk']).toBeGreaterThan(10);
  });

  it.each(FAULTY_SEEDS)('ends so where the network is at its worst: seed %i', async (seed) => {
    await run(seed);
  });

  it('has met, in these stories, each fault that there is', async () => {
    const counts = new Map<Happening, number>(HAPPENINGS.map((what) => [what, 0]));
    for (const seed of FIXED_SEEDS)
      for (const [what, times] of Object.entries((await run(seed)).happened))
        counts.set(what as Happening, (counts.get(what as Happening) ?? 0) + times);
    expect([...counts].filter(([, times]) => times === 0)).toEqual([]);
    expect(counts.size).toBe(HAPPENINGS.length);
  });

  it('ends so whichever store write of the joining server was its last, before its commit and after it', async () => {
    let runs = 0;
    for await (const { atWrite, when, result } of crashEvery({ seed: CRASHED_SEED, every: CRASH_EVERY, from: 24 })) {
      const again = `npm run simulate -- --seed ${CRASHED_SEED} --runs 1 --crash-at ${atWrite}${when === 'after-commit' ? ' --after-commit' : ''}`;
      expect(result.problems, [again, ...result.trace.slice(-20)].join('\n')).toEqual([]);
      expect(result.happened['joiner-crash'], `write ${atWrite} was reached`).toBe(1);
      runs += 1;
    }
    expect(runs).toBeGreaterThan(CRASHED_RUNS_MIN);
  });

  it('is the same, line by line, for the same seed', async () => {
    const [first, second] = [
      await runSimulation({ seed: CRASHING_SEED }),
      await runSimulation({ seed: CRASHING_SEED }),
    ];
    expect(second.trace).toEqual(first.trace);
    expect(second.traceHash).toBe(first.traceHash);
    expect(first.happened['joiner-crash']).toBeGreaterThan(0);
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
    vi.doUnmock('/src/kernel/event-auth/check-auth-rules.ts');
    vi.doUnmock('/src/room/receive-pdus.ts');
    vi.doUnmock('/src/kernel/signatures/verify-pdu.ts');
    vi.resetModules();
  });

  it('fails when what was wrongly accepted while the state was partial stays accepted', async () => {
    const problems = await problemsWhereBroken(FLIPPING_SEEDS, 'partial-state/put-verdict', ({ putVerdict }) => ({
      putVerdict: (writer: never, room: never, event: never, before: never, _refusal: never, own: never) =>
        (putVerdict as (...values: never[]) => void)(writer, room, event, before, undefined as never, own),
    }));
    expect(problems.join('\n')).toMatch(/is accepted, a full join has it rejected/);
  });

  it('fails when what others push is answered and not taken in', async () => {
    const problems = await problemsWhereBroken(FLIPPING_SEEDS, 'room/receive-pdus', ({ receivePdus }) => ({
      receivePdus: async (server: { serverName: string }, origin: string, ...rest: unknown[]) =>
        server.serverName === 'hs2' && origin === 'hs1'
          ? new Map()
          : (receivePdus as (...all: unknown[]) => unknown)(server, origin, ...rest),
    }));
    expect(problems.join('\n')).toMatch(/the last message, never came in/);
  });

  it('fails when the joining server believes forged signatures', async () => {
    const problems = await problemsWhereBroken(FORGED_SEEDS, 'kernel/signatures/verify-pdu', (original) => ({
      verifyPdu: (...values: unknown[]) => {
        const verified = (original.verifyPdu as (...all: unknown[]) => Record<string, unknown>)(...values);
        return verified.code === 'bad-signature' ? { ...verified, outcome: 'verified', redacted: false } : verified;
      },
    }));
    expect(problems.join('\n')).toMatch(/is served with a signature that is not its sender's/);
  });

  it('fails when the authorization rules allow everything, though a full join allows it as well', async () => {
    const problems = await problemsWhereBroken(FLIPPING_SEEDS, 'kernel/event-auth/check-auth-rules', () => ({
      checkAuthRules: () => ({ allowed: true }),
    }));
    expect(problems.join('\n')).toMatch(/is accepted, its sender being (leave|ban|unknown)/);
  });
});
