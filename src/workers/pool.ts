/**
 * The worker pool behind one type, with two carriers: Piscina threads, and the same jobs inline (inline-pool.ts).
 *
 * Two lanes: interactive tasks (an event that was just pushed, a join that a user waits for) always start before bulk
 * tasks (a resync). A bulk task is about 10 ms, which bounds how long an interactive one waits.
 */

import { fileURLToPath } from 'node:url';
import type { TaskQueue } from 'piscina';
import { Piscina, queueOptionsSymbol } from 'piscina';
import type { JobInput, JobName, JobOutput } from './jobs.js';
import { movableInput } from './jobs.js';
import { expectMovedBuffers } from './v8-flags.js';

type Task = Parameters<TaskQueue['push']>[0];

export type Lane = 'interactive' | 'bulk';

export interface WorkerPool {
  /** Runs a job. Buffers of the input that jobs.ts lists are moved and empty afterwards. */
  run<Name extends JobName>(name: Name, input: JobInput<Name>, lane: Lane): Promise<JobOutput<Name>>;
  stats(): PoolStats;
  close(): Promise<void>;
}

export interface PoolStats {
  readonly threads: number;
  readonly queued: number;
  readonly running: number;
  readonly completed: number;
}

/** Tasks that may wait; callers keep their own smaller limits, so that reaching this is a bug and fails the task. */
export const QUEUED_TASKS_MAX = 10_000;

/** Tasks given to a thread at once: one runs, one waits beside it, so that it never idles until the main thread turns. */
const TASKS_PER_THREAD = 2;

/** Heap limit of a worker thread in MB: its batches are small, its caches bounded. */
const THREAD_HEAP_MB_MAX = 256;
/** Of that, for what has just been made, in MB: with V8's own half, batches were collected while they were still in use. */
const THREAD_YOUNG_HEAP_MB_MAX = 96;

/** First in, first out in each lane; the interactive lane first. */
export class LaneQueue implements TaskQueue {
  readonly #lanes: Record<Lane, Task[]> = { interactive: [], bulk: [] };

  get size(): number {
    return this.#lanes.interactive.length + this.#lanes.bulk.length;
  }
  shift(): Task | null {
    return this.#lanes.interactive.shift() ?? this.#lanes.bulk.shift() ?? null;
  }
  push(task: Task): void {
    this.#laneOf(task).push(task);
  }
  unshift(task: Task): void {
    this.#laneOf(task).unshift(task);
  }
  remove(task: Task): void {
    const lane = this.#laneOf(task);
    const at = lane.indexOf(task);
    if (at >= 0) lane.splice(at, 1);
  }
  #laneOf(task: Task): Task[] {
    const options = task[queueOptionsSymbol] as { readonly lane?: Lane } | null;
    return this.#lanes[options?.lane ?? 'bulk'];
  }
}

export interface PoolOptions {
  readonly threads: number;
  /** Folder of the environment, see open-store.ts. */
  readonly storePath: string;
  /** Compiled entry of a thread; tests, which run from source, name the one under dist/. */
  readonly threadFile?: string;
}

/** A pool of real threads. All of them have loaded their code when this resolves. */
export async function openWorkerPool(options: PoolOptions): Promise<WorkerPool> {
  expectMovedBuffers();
  const piscina = new Piscina({
    filename: options.threadFile ?? fileURLToPath(new URL('./thread.js', import.meta.url)),
    minThreads: options.threads,
    maxThreads: options.threads,
    concurrentTasksPerWorker: TASKS_PER_THREAD,
    maxQueue: QUEUED_TASKS_MAX,
    taskQueue: new LaneQueue(),
    resourceLimits: { maxOldGenerationSizeMb: THREAD_HEAP_MB_MAX, maxYoungGenerationSizeMb: THREAD_YOUNG_HEAP_MB_MAX },
    workerData: { storePath: options.storePath },
    recordTiming: false,
  });
  let running = 0;
  const pool: WorkerPool = {
    run: async (name, input, lane) => {
      running += 1;
      try {
        // The queue reads the lane from the task object itself; a symbol does not cross to the thread.
        const task = { ...input, [queueOptionsSymbol]: { lane } };
        return await piscina.run(task, { name, transferList: movableInput(name, input) });
      } finally {
        running -= 1;
      }
    },
    stats: () => ({
      threads: piscina.threads.length,
      queued: piscina.queueSize,
      running,
      completed: piscina.completed,
    }),
    close: () => piscina.destroy(),
  };
  return pool;
}
