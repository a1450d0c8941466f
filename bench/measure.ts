/**
 * How every bench here runs: tasks of one workload side by side in one run, each checked once before it is timed, the
 * answers hashed. `smoke` runs each task a few times inside the tests and says nothing about speed.
 */

import { hash } from 'node:crypto';
import { Bench } from 'tinybench';

export type BenchSize = 'smoke' | 'full';

/** Milliseconds for which a task is timed, warm-up apart. */
const TASK_MS: Readonly<Record<BenchSize, number>> = { smoke: 1, full: 1000 };
/** Fewest runs of a task, however long one takes. */
const TASK_RUNS_MIN: Readonly<Record<BenchSize, number>> = { smoke: 2, full: 5 };

export interface BenchRow {
  readonly task: string;
  /** Mean of one run, in milliseconds. */
  readonly meanMs: number;
  /** Half width of the 95 % confidence interval, as a share of the mean. */
  readonly uncertainty: number;
  /** Items that one second takes. */
  readonly itemsPerSecond: number;
  readonly runs: number;
}

export interface BenchReport {
  /** With the sizes of the workload. */
  readonly name: string;
  /** SHA-256 of the answers, hexadecimal. */
  readonly answer: string;
  readonly rows: readonly BenchRow[];
}

export interface BenchTask {
  readonly name: string;
  /** Called before each run, and not timed. */
  readonly prepare?: () => void;
  readonly run: () => unknown;
}

/** Times `tasks`, each of which handles `items` items a run. `answer`: text or bytes that the workload must give. */
export async function measure(
  name: string,
  size: BenchSize,
  items: number,
  answer: string | Uint8Array,
  tasks: readonly BenchTask[],
): Promise<BenchReport> {
  const full = size === 'full';
  const bench = new Bench({
    name,
    throws: true,
    time: TASK_MS[size],
    iterations: TASK_RUNS_MIN[size],
    warmup: full,
    warmupTime: full ? 250 : 0,
    warmupIterations: full ? 2 : 0,
  });
  for (const { name, prepare, run } of tasks) {
    bench.add(name, run, prepare === undefined ? {} : { beforeEach: prepare });
  }
  await bench.run();
  const rows = bench.tasks.map((task): BenchRow => {
    const { result } = task;
    if (!('latency' in result)) throw new Error(`${name}, ${task.name}: ${result.state}`);
    const { mean, rme, samplesCount } = result.latency;
    return {
      task: task.name,
      meanMs: mean,
      uncertainty: rme / 100,
      itemsPerSecond: (items * 1000) / mean,
      runs: samplesCount,
    };
  });
  return { name, answer: hash('sha256', answer, 'hex'), rows };
}

/** Fails the bench when two ways to one answer disagree. */
export function mustEqual(a: unknown, b: unknown, what: string): void {
  if (a !== b) throw new Error(`${what}: the two ways disagree`);
}
