/**
 * One story told again and again, the joining server crashing at another of its store writes each time, until the story ends
 * before the write is reached: then every write (or every k-th) has been the last one of a life.
 */

import type { SimulationResult } from './run-simulation.js';
import { runSimulation } from './run-simulation.js';

export interface CrashEveryOptions {
  readonly seed: number;
  /** At every k-th write. */
  readonly every: number;
  /** First write, 1 or more. */
  readonly from?: number;
}

export interface CrashedRun {
  readonly atWrite: number;
  readonly when: 'before-commit' | 'after-commit';
  readonly result: SimulationResult;
}

/** The runs, one before the commit and one after it for each write; the consumer may stop at any. */
export async function* crashEvery({ seed, every, from = 1 }: CrashEveryOptions): AsyncGenerator<CrashedRun> {
  for (let atWrite = from; ; atWrite += every) {
    for (const when of ['before-commit', 'after-commit'] as const) {
      const result = await runSimulation({ seed, plan: { atWrite, when, losesBackground: true }, only: true });
      if (result.ok && result.happened['joiner-crash'] === undefined) return;
      yield { atWrite, when, result };
    }
  }
}
