/**
 * Runs one fuzz target: one input after another until a number of runs or a deadline, each checked for what it must not
 * do: throw, take long, keep memory. A failure names the seed and the run that make its input again.
 */

import type { Random } from '../hq/room/plan/random.js';
import { randomOf } from '../hq/room/plan/random.js';

/** Longest that one input may take, in milliseconds of the process's CPU: inputs are at most INPUT_BYTES_MAX. */
export const RUN_MS_MAX = 1500;
/** Most memory that one input may take beyond what was there, in bytes: heap, garbage included, and buffers. */
export const RUN_BYTES_MAX = 96 * 1024 * 1024;

export interface FuzzTarget {
  readonly name: string;
  /** The input of a run. */
  makeInput(random: Random): Buffer;
  /** Throws when the parser does what it must not. `random` goes on where makeInput left it. */
  check(input: Buffer, random: Random): void;
}

export interface FuzzFailure {
  readonly target: string;
  readonly seed: number;
  readonly run: number;
  readonly reason: string;
  readonly input: Buffer;
}

/** The random source of a run. */
export function randomOfRun(seed: number, run: number): Random {
  return randomOf(String(seed), String(run));
}

export interface FuzzResult {
  readonly runs: number;
  readonly failure: FuzzFailure | undefined;
}

export interface FuzzOptions {
  readonly seed: number;
  readonly firstRun?: number;
  readonly runs: number;
  /** When to stop before all runs are done; asked between runs. */
  readonly isOver?: () => boolean;
  /** Told before each run: whoever watches sees one that never ends. */
  readonly onRun?: (run: number) => void;
  /** Milliseconds of CPU and bytes in use, as arguments so that the tests can make a run slow or large. */
  readonly clock?: () => number;
  readonly memory?: () => number;
}

/** Not the time of day: a busy machine makes nobody's parser slow. */
function cpuMs(): number {
  const { user, system } = process.cpuUsage();
  return (user + system) / 1000;
}

function bytesInUse(): number {
  const { heapUsed, arrayBuffers } = process.memoryUsage();
  return heapUsed + arrayBuffers;
}

/** Runs a target; stops at its first failure. */
export function runTarget(target: FuzzTarget, options: FuzzOptions): FuzzResult {
  const { seed, firstRun = 0, runs, isOver = () => false, onRun = () => undefined } = options;
  const { clock = cpuMs, memory = bytesInUse } = options;
  let done = 0;
  for (let run = firstRun; run < firstRun + runs && !isOver(); run++) {
    onRun(run);
    const random = randomOfRun(seed, run);
    const input = target.makeInput(random);
    const memoryBefore = memory();
    const start = clock();
    const failed = (reason: string): FuzzResult => ({
      runs: done,
      failure: { target: target.name, seed, run, reason, input },
    });
    try {
      target.check(input, random);
    } catch (error) {
      return failed(error instanceof Error ? (error.stack ?? error.message) : String(error));
    }
    const ms = clock() - start;
    if (ms > RUN_MS_MAX) return failed(`took ${Math.round(ms)} ms of CPU, more than ${RUN_MS_MAX}`);
    const bytes = memory() - memoryBefore;
    if (bytes > RUN_BYTES_MAX) return failed(`took ${bytes} bytes, more than ${RUN_BYTES_MAX}`);
    done += 1;
  }
  return { runs: done, failure: undefined };
}

/** The one who finds a difference says so. */
export function mustHold(condition: boolean, what: string): void {
  if (!condition) throw new Error(`does not hold: ${what}`);
}
