/** The fuzzer itself: whatever a parser must not do is found, with what makes it happen again. */

import { describe, expect, it } from 'vitest';
import { FUZZ_TARGETS } from '../../scripts/fuzz/fuzz-targets.js';
import { INPUT_BYTES_MAX, mutateBytes } from '../../scripts/fuzz/mutate.js';
import type { FuzzTarget } from '../../scripts/fuzz/run-target.js';
import { RUN_BYTES_MAX, RUN_MS_MAX, randomOfRun, runTarget } from '../../scripts/fuzz/run-target.js';
import { watchTarget } from '../../scripts/fuzz/watch-target.js';

const target = (check: FuzzTarget['check']): FuzzTarget => ({
  name: 'made-up',
  makeInput: (random) => Buffer.from([random.below(64)]),
  check,
});

/** A thread that runs `code` instead of a target. */
const watch = (code: string, hangMsMax = 25_000) =>
  watchTarget(
    target(() => undefined),
    {
      seed: 5,
      firstRun: 3,
      runs: 1,
      ms: 1000,
      threadFile: new URL(`data:text/javascript,${encodeURIComponent(code)}`),
      hangMsMax,
    },
  );

describe('running a fuzz target', () => {
  it('finds the input that makes a parser throw, and the same one again from seed and run', () => {
    const throwing = target((input) => {
      if (input[0] === 42) throw new RangeError('forty-two');
    });
    const { runs, failure } = runTarget(throwing, { seed: 1, runs: 10_000 });
    expect(failure).toMatchObject({ target: 'made-up', seed: 1, run: runs, input: Buffer.from([42]) });
    expect(failure?.reason).toMatch(/forty-two/);
    const again = runTarget(throwing, { seed: 1, firstRun: runs, runs: 1 });
    expect(again).toMatchObject({ runs: 0, failure: { run: runs, input: Buffer.from([42]) } });
    expect(throwing.makeInput(randomOfRun(1, runs))).toEqual(Buffer.from([42]));
  });

  it('finds a run that takes long or much memory, at the limit and above', () => {
    const withUse = (times: readonly number[], sizes: readonly number[]) => {
      const clock = [...times];
      const memory = [...sizes];
      const options = { seed: 1, runs: 1, clock: () => clock.shift() ?? 0, memory: () => memory.shift() ?? 0 };
      return runTarget(
        target(() => undefined),
        options,
      ).failure?.reason;
    };
    expect(withUse([0, RUN_MS_MAX], [0, RUN_BYTES_MAX])).toBeUndefined();
    expect(withUse([0, RUN_MS_MAX + 1], [0, 0])).toMatch(/took 1501 ms of CPU/);
    expect(withUse([0, 0], [0, RUN_BYTES_MAX + 1])).toMatch(/bytes, more than/);
  });

  it('stops when it is told to', () => {
    let asked = 0;
    const result = runTarget(
      target(() => undefined),
      { seed: 1, runs: 100, isOver: () => ++asked > 7 },
    );
    expect(result).toEqual({ runs: 7, failure: undefined });
  });

  it('makes other inputs of other seeds and runs, none beyond the limit', () => {
    const corpus = [Buffer.from('{"a":1}'), Buffer.alloc(INPUT_BYTES_MAX, 0x5b)];
    const inputs = Array.from({ length: 300 }, (_, run) => mutateBytes(randomOfRun(1, run), corpus[run % 2]!, corpus));
    expect(inputs.every((input) => input.length <= INPUT_BYTES_MAX)).toBe(true);
    expect(new Set(inputs.map((input) => input.toString('latin1'))).size).toBeGreaterThan(150);
    for (const { makeInput } of FUZZ_TARGETS) {
      expect(makeInput(randomOfRun(9, 9))).toEqual(makeInput(randomOfRun(9, 9)));
    }
  });

  it('hands on what a thread found, the input as bytes', async () => {
    const failure = `{ target: 'made-up', seed: 5, run: 3, reason: 'x', input: new Uint8Array([1, 2]) }`;
    const found = await watch(
      `import { parentPort } from 'node:worker_threads'; parentPort.postMessage({ runs: 9, failure: ${failure} });`,
    );
    expect(found).toMatchObject({ runs: 9, failure: { reason: 'x' } });
    expect(found.failure?.input.toString('base64')).toBe('AQI=');
  });

  it('finds a thread that hangs, fills its heap or dies, and names the run', async () => {
    const setRun = `import { workerData } from 'node:worker_threads';
      Atomics.store(new Int32Array(workerData.current), 0, 7);`;
    const results = await Promise.all([
      watch(`${setRun} for (;;);`, 1500),
      watch(`${setRun} const all = []; for (;;) all.push(new Array(100000).fill(1.5));`),
      watch(`${setRun} throw new Error('boom');`),
      watch(`${setRun} process.exit(3);`),
    ]);
    const input = target(() => undefined).makeInput(randomOfRun(5, 7));
    for (const { runs, failure } of results) {
      expect({ runs, failure }).toMatchObject({ runs: 4, failure: { seed: 5, run: 7, input } });
    }
    const reasons = results.map(({ failure }) => failure?.reason ?? '');
    expect(reasons[0]).toMatch(/hangs/);
    expect(reasons[1]).toMatch(/memory/i);
    expect(reasons[2]).toMatch(/boom/);
    expect(reasons[3]).toMatch(/ended with 3/);
  });
});
