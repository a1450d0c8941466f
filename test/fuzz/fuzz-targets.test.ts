/** Every parser on bad input, for a moment: `npm run fuzz` goes on for as long as one likes. */

import { describe, expect, it } from 'vitest';
import { FUZZ_TARGETS } from '../../scripts/fuzz/fuzz-targets.js';
import { runTarget } from '../../scripts/fuzz/run-target.js';

/** Runs of each target: so many, or at least so few when they take more milliseconds on a busy machine. */
const RUNS = 400;
const RUNS_MIN = 40;
const TARGET_MS = 700;

describe('fuzzing', () => {
  it.each(FUZZ_TARGETS)('$name finds no crash, no hang, no difference and no memory taken', (target) => {
    const end = performance.now() + TARGET_MS;
    let begun = 0;
    const isOver = () => begun >= RUNS_MIN && performance.now() > end;
    const onRun = () => {
      begun += 1;
    };
    const { runs, failure } = runTarget(target, { seed: 20_240_601, runs: RUNS, isOver, onRun });
    expect(failure === undefined ? undefined : { ...failure, input: failure.input.toString('latin1') }).toBeUndefined();
    expect(runs).toBeGreaterThanOrEqual(RUNS_MIN);
  });
});
