/**
 * Question: what do the auth checks of a whole room of Matrix HQ's size cost, one thread, warm?
 *
 * Workload: joins to a public room, changes of display names, a few kicks, and 1,570 power levels events of 21 users that
 * all else rests on, as many as the rehearsal room has; in batches as the resync makes them, NIDs in random order. Cannot show:
 * more power levels events than a thread keeps (2,000), passing rejections on, a store that does not fit into memory.
 */

import type { EventId } from '../src/kernel/matrix/ids.js';
import { eventNidOf } from '../src/store/events.js';
import { NO_EVENT } from '../src/store/nids.js';
import { AUTH_BATCH_EVENTS_MAX, checkAuthBatch } from '../src/workers/jobs/check-auth-batch.js';
import { WorkerContext } from '../src/workers/worker-context.js';
import { type ForkedRoomSize, storeForkedRoom } from './forked-room.js';
import type { BenchReport, BenchSize } from './measure.js';
import { measure } from './measure.js';
import { withStore } from './stored-room.js';

const ROOMS: Readonly<Record<BenchSize, ForkedRoomSize & { readonly checked: number }>> = {
  smoke: { entries: 300, differing: 20, depth: 20, checked: 400 },
  full: { entries: 137_000, differing: 100, depth: 100, checked: 206_479 },
};

export async function run(size: BenchSize): Promise<BenchReport> {
  return withStore(async (store) => {
    const rows: { name: string; run: () => number }[] = [];
    const answers: string[] = [];
    for (const version of ['11', '12']) {
      const room = storeForkedRoom(store, version, ROOMS[size]);
      const { rules, roomId, roomNid } = room;
      const nids = Uint32Array.from(room.authNids.keys()).sort().slice(0, ROOMS[size].checked);
      if (nids.length < ROOMS[size].checked) throw new Error(`the room has ${nids.length} events only`);
      const implied = rules.roomIdIsCreateEventHash ? eventNidOf(store, `$${roomId.slice(1)}` as EventId) : undefined;
      const createNid = implied ?? NO_EVENT;
      const thread = new WorkerContext(store);
      const checkAll = (): number => {
        let refused = 0;
        for (let at = 0; at < nids.length; at += AUTH_BATCH_EVENTS_MAX) {
          const batch = nids.slice(at, at + AUTH_BATCH_EVENTS_MAX);
          const input = { roomVersion: version, roomId, roomNid, createNid, nids: batch };
          refused += checkAuthBatch(input, thread).outcomes.filter((outcome) => outcome !== 0).length;
        }
        return refused;
      };
      const refused = checkAll();
      if (refused > 0) throw new Error(`${refused} good events were refused`);
      answers.push(`${version} ${nids.length} ${refused}`);
      rows.push({ name: `version ${version}`, run: checkAll });
    }
    const { checked } = ROOMS[size];
    return measure(`auth checks of a room, ${checked} events`, size, checked, answers.join('\n'), rows);
  });
}
