/** Handfuls of events are worked on where they are, everything else on the threads. */

import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { RoomId } from '../../src/kernel/matrix/ids.js';
import type { EventNid, RoomNid } from '../../src/store/nids.js';
import type { Store } from '../../src/store/open-store.js';
import { openStore } from '../../src/store/open-store.js';
import { nearPool } from '../../src/workers/near-pool.js';
import { batchOf } from '../../src/workers/pdu-batch.js';
import type { Lane, WorkerPool } from '../../src/workers/pool.js';

const folder = mkdtempSync(join(tmpdir(), 'joinery-test-'));
let store: Store;

beforeAll(() => {
  store = openStore(folder, 'hs1');
});
afterAll(async () => {
  await store.close();
  rmSync(folder, { recursive: true });
});

/** A pool that only counts what reaches it. */
function countingPool(): { pool: WorkerPool; reached: string[] } {
  const reached: string[] = [];
  const run = async (name: string) => {
    reached.push(name);
    return {};
  };
  return { pool: { run, stats: () => ({}), close: async () => undefined } as unknown as WorkerPool, reached };
}

const room = { roomVersion: '11', roomId: '!room:hs1' as RoomId };

async function verify(pool: WorkerPool, pdus: number, lane: Lane) {
  const batch = batchOf(Array.from({ length: pdus }, () => Buffer.from('{}')));
  const input = { ...room, batch, stateOnly: false, pushed: true, fetched: undefined, index: undefined };
  return pool.run('verifyPdus', input, lane);
}

function check(pool: WorkerPool, events: number, lane: Lane) {
  const nids = Uint32Array.from({ length: events }, (_, i) => i + 1);
  return pool.run('checkAuthBatch', { ...room, roomNid: 1 as RoomNid, createNid: 1 as EventNid, nids }, lane);
}

describe('the pool of a server', () => {
  it('verifies and checks a handful of events itself', async () => {
    const { pool, reached } = countingPool();
    const near = nearPool(pool, store);
    expect(Array.from((await verify(near, 1, 'interactive')).outcomes)).toHaveLength(1);
    expect(Array.from((await check(near, 4, 'interactive')).outcomes)).toHaveLength(4);
    expect(reached).toEqual([]);
  });

  it('leaves more of them, and all that no user waits for, to the threads', async () => {
    const { pool, reached } = countingPool();
    const near = nearPool(pool, store);
    await verify(near, 3, 'interactive');
    await verify(near, 1, 'bulk');
    await check(near, 5, 'interactive');
    await check(near, 1, 'bulk');
    expect(reached).toEqual(['verifyPdus', 'verifyPdus', 'checkAuthBatch', 'checkAuthBatch']);
  });
});
