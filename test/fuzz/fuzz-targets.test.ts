/** Every parser on bad input, for a moment: `npm run fuzz` goes on for as long as one likes. */

import { describe, expect, it } from 'vitest';
import { FUZZ_TARGETS } from '../../scripts/fuzz/fuzz-targets.js';
import { runTarget } from '../../scripts/fuzz/run-target.js';

/** Runs of each target, and the most milliseconds for them on a busy machine. */
const RUNS = 400;
const TARGET_MS = 1000;

describe('fuzzing', () => {
  it.each(FUZZ_TARGETS)('$name finds no crash, no hang, no difference and no memory taken', (target) => {
    const end = performance.now() + TARGET_MS;
    const { runs, failure } = runTarget(target, {
      seed: 20_240_601,
      runs: RUNS,
      isOver: () => performance.now() > end,
    });
    expect(failure === undefined ? undefined : { ...failure, input: failure.input.toString('latin1') }).toBeUndefined();
    expect(runs).toBeGreaterThan(20);
  });
});
