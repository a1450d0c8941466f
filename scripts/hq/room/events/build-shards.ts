/**
 * The shards of a room in order, built on several threads a few ahead of whoever takes them, or one by one here.
 */

import { Worker } from 'node:worker_threads';
import type { RoomShape } from '../plan/room-shape.js';
import { type BuiltShard, buildShard } from './build-shard.js';
import type { Spine } from './build-spine.js';

/** Shards that may be built and not yet taken, beyond one per thread: about 13 MB each at full size. */
const AHEAD_MAX = 2;

/** Builds every shard; `threads` 0 builds on this thread (for tests, which run uncompiled sources). */
export async function* buildShards(shape: RoomShape, spine: Spine, threads: number): AsyncGenerator<BuiltShard> {
  if (threads === 0) {
    for (let index = 0; index < shape.shards; index++) yield buildShard(shape, spine, index);
    return;
  }
  const { seed, events, roomVersion } = shape;
  const file = new URL('./shard-thread.js', import.meta.url);
  const workers = Array.from({ length: Math.min(threads, shape.shards) }, () => {
    return new Worker(file, { workerData: { seed, events, roomVersion } });
  });
  try {
    yield* takeInOrder(workers, shape.shards);
  } finally {
    await Promise.all(workers.map((worker) => worker.terminate()));
  }
}

async function* takeInOrder(workers: readonly Worker[], shards: number): AsyncGenerator<BuiltShard> {
  const built = new Map<number, BuiltShard>();
  const idle: Worker[] = [];
  let failure: Error | undefined;
  let started = 0;
  let taken = 0;
  let wake: () => void = () => undefined;
  const start = (): void => {
    while (idle.length > 0 && started < shards && started - taken < workers.length + AHEAD_MAX) {
      idle.pop()?.postMessage(started++);
    }
  };
  for (const worker of workers) {
    idle.push(worker);
    worker.on('error', (error) => {
      failure = error instanceof Error ? error : new Error(String(error));
      wake();
    });
    worker.on('message', (shard: BuiltShard) => {
      built.set(shard.index, shard);
      idle.push(worker);
      start();
      wake();
    });
  }
  start();
  while (taken < shards) {
    const shard = built.get(taken);
    if (failure !== undefined) throw failure;
    if (shard === undefined) {
      await new Promise<void>((resolve) => {
        wake = resolve;
      });
      continue;
    }
    built.delete(taken);
    taken += 1;
    start();
    yield shard;
  }
}
