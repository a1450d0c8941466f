/**
 * Question: what does the auth check of a stored member event cost, records decoded and all, and how much of it is
 * reading the record?
 *
 * Workload: one batch of joins to a public room, all resting on the same three events. Cannot show: power levels with
 * thousands of users, restricted joins, third-party invites, a store that does not fit into memory.
 */

import { loadRecord } from '../src/store/events.js';
import { NO_EVENT } from '../src/store/nids.js';
import { AUTH_BATCH_EVENTS_MAX, checkAuthBatch } from '../src/workers/jobs/check-auth-batch.js';
import { WorkerContext } from '../src/workers/worker-context.js';
import type { BenchReport, BenchSize } from './measure.js';
import { measure } from './measure.js';
import { signedRoom } from './signed-room.js';
import { storeRoom, withStore } from './stored-room.js';

export async function run(size: BenchSize): Promise<BenchReport> {
  const room = signedRoom((size === 'full' ? AUTH_BATCH_EVENTS_MAX : 40) - 3, 10);
  return withStore((store) => {
    const { roomNid, nids } = storeRoom(store, room);
    const context = new WorkerContext(store);
    const input = {
      roomVersion: room.rules.version,
      roomId: room.roomId,
      roomNid,
      createNid: nids[0] ?? NO_EVENT,
      nids: Uint32Array.from(nids),
    };
    const output = checkAuthBatch(input, context);
    if (output.refusals.length > 0) throw new Error(`a good event was refused: ${output.refusals[0]?.reason}`);
    const answer = JSON.stringify([[...output.outcomes], [...output.authNids]]);
    return measure(`auth checks of ${nids.length} events`, size, nids.length, answer, [
      { name: 'records alone', run: () => nids.map((nid) => loadRecord(store, nid)).length },
      { name: 'whole checkAuthBatch job', run: () => checkAuthBatch(input, context).outcomes.length },
    ]);
  });
}
