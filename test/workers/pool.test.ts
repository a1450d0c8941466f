/** Lanes and batches: who goes first, and how much goes at once. */

import { fileURLToPath } from 'node:url';
import type { TaskQueue } from 'piscina';
import { queueOptionsSymbol } from 'piscina';
import { describe, expect, it } from 'vitest';
import { signedRoom } from '../../bench/signed-room.js';
import { storeKeys } from '../../bench/stored-room.js';
import type { PduBatch } from '../../src/workers/pdu-batch.js';
import { BATCH_BYTES, BATCH_PDUS_MAX, batchOf, PduBatcher } from '../../src/workers/pdu-batch.js';
import { type Lane, LaneQueue, openWorkerPool } from '../../src/workers/pool.js';
import { temporaryStore } from '../store/temporary-store.js';

type Task = Parameters<TaskQueue['push']>[0];
const task = (lane?: Lane) => ({ [queueOptionsSymbol]: lane === undefined ? null : { lane } }) as unknown as Task;

describe('the lanes of the pool', () => {
  it('give interactive tasks out before bulk ones, first in first out in each', () => {
    const [bulk1, bulk2, now1, now2, plain] = [
      task('bulk'),
      task('bulk'),
      task('interactive'),
      task('interactive'),
      task(),
    ];
    const queue = new LaneQueue();
    for (const one of [bulk1, now1, plain, bulk2, now2]) queue.push(one);
    expect(queue.size).toBe(5);
    const order: (Task | null)[] = [];
    while (queue.size > 0) order.push(queue.shift());
    expect(order).toEqual([now1, now2, bulk1, plain, bulk2]);
    expect(queue.shift()).toBeNull();
  });

  it('take a task back to the front and let one be removed', () => {
    const [first, second, urgent] = [task('bulk'), task('bulk'), task('interactive')];
    const queue = new LaneQueue();
    queue.push(first);
    queue.unshift(second);
    queue.push(urgent);
    queue.remove(urgent);
    queue.remove(urgent);
    expect([queue.shift(), queue.shift(), queue.size]).toEqual([second, first, 0]);
  });

  it('let an interactive job overtake the bulk jobs that wait for a real thread', async () => {
    const room = signedRoom(20, 2);
    const store = temporaryStore();
    storeKeys(store, room.keys);
    const threadFile = fileURLToPath(new URL('../../dist/src/workers/thread.js', import.meta.url));
    const pool = await openWorkerPool({ threads: 1, storePath: store.path, threadFile });
    try {
      const job = (lane: Lane) =>
        pool.run(
          'verifyPdus',
          {
            roomVersion: '11',
            roomId: room.roomId,
            batch: batchOf(room.bodies),
            stateOnly: true,
            pushed: true,
            fetched: undefined,
            index: undefined,
          },
          lane,
        );
      const finished: string[] = [];
      const jobs = Array.from({ length: 12 }, () => job('bulk').then(() => finished.push('bulk')));
      jobs.push(job('interactive').then(() => finished.push('interactive')));
      expect(pool.stats()).toMatchObject({ threads: 1, running: 13 });
      await Promise.all(jobs);
      expect(finished.indexOf('interactive')).toBeLessThan(6);
      expect(pool.stats()).toMatchObject({ queued: 0, running: 0, completed: 13 });
    } finally {
      await pool.close();
    }
  });
});

describe('the batcher', () => {
  const collected = () => {
    const batches: PduBatch[] = [];
    return { batches, batcher: new PduBatcher((batch) => batches.push(batch)) };
  };
  const sizes = (batches: readonly PduBatch[]) => batches.map(({ offsets }) => offsets.length - 1);

  it('gives a batch out when it has as many PDUs as it may', () => {
    const { batches, batcher } = collected();
    for (let i = 0; i < BATCH_PDUS_MAX + 1; i++) batcher.add(Buffer.from(`{"n":${i}}`));
    expect(sizes(batches)).toEqual([BATCH_PDUS_MAX]);
    batcher.flush();
    batcher.flush();
    expect(sizes(batches)).toEqual([BATCH_PDUS_MAX, 1]);
    const { bytes, offsets } = batches[0]!;
    expect(Buffer.from(bytes.slice(offsets[95], offsets[96])).toString()).toBe('{"n":95}');
  });

  it('gives a batch out when the next PDU does not fit, and a larger PDU a buffer of its own', () => {
    const { batches, batcher } = collected();
    for (const length of [BATCH_BYTES - 10, 10, 1, BATCH_BYTES + 1, 5]) batcher.add(Buffer.alloc(length, 1));
    batcher.flush();
    expect(sizes(batches)).toEqual([2, 1, 1, 1]);
    expect(batches.map(({ bytes }) => bytes.length)).toEqual([BATCH_BYTES, BATCH_BYTES, BATCH_BYTES + 1, BATCH_BYTES]);
  });

  it('copies what it is given and uses again only whole buffers that came home', () => {
    const { batches, batcher } = collected();
    const pdu = Buffer.from('{"a":1}');
    batcher.add(pdu);
    pdu.fill(0);
    batcher.flush();
    const first = batches[0]!.bytes;
    expect(Buffer.from(first.slice(0, 7)).toString()).toBe('{"a":1}');
    batcher.recycle(new Uint8Array(5));
    batcher.recycle(first);
    batcher.add(Buffer.from('{}'));
    batcher.flush();
    expect(batches[1]!.bytes).toBe(first);
  });
});
