/**
 * Question: what does a state group cost that differs from another in one entry, against one written whole, and how long
 * does it take to find the difference again?
 *
 * Workload: a state of one event for each member, entries changed at random places; each write is one durable
 * transaction of 50 changes, so the fsync is shared. Cannot show: the disk of another machine, a store of many rooms.
 */

import type { EventNid, StateGroupNid, StateKeyNid } from '../src/store/nids.js';
import { changeStateGroup, differingEntries, putStateGroup, stateEntries } from '../src/store/state-groups.js';
import type { BenchReport, BenchSize } from './measure.js';
import { measure } from './measure.js';
import { SEED, seededRandom } from './signed-room.js';
import { withStore } from './stored-room.js';

const CHANGES = 50;

export async function run(size: BenchSize): Promise<BenchReport> {
  const members = size === 'full' ? 85_000 : 2000;
  return withStore((store) => {
    const random = seededRandom(SEED);
    const places = Uint32Array.from({ length: members }, (_, i) => i + 1);
    const base = store.write((writer) => putStateGroup(writer, places));
    let nextEvent = members + 1;
    const changeOnce = (whole: boolean): StateGroupNid[] =>
      store.write((writer) =>
        Array.from({ length: CHANGES }, () => {
          const place = Math.floor(random() * members) as StateKeyNid;
          const event = nextEvent++ as EventNid;
          if (!whole) return changeStateGroup(writer, base, [[place, event]]);
          const changed = places.slice();
          changed[place] = event;
          return putStateGroup(writer, changed);
        }),
      );
    const groups = changeOnce(false);
    const differences = () => groups.map((group) => [...differingEntries(store, [base, group])]);
    const answer = JSON.stringify(differences());
    const scanned = groups.slice(0, 2).map((group) => {
      const after = new Map(stateEntries(store, group));
      return [...stateEntries(store, base)]
        .filter(([place, event]) => after.get(place) !== event)
        .map(([place]) => place);
    });
    if (
      JSON.stringify(scanned) !==
      JSON.stringify(
        differences()
          .slice(0, 2)
          .map((found) => found.map(([place]) => place)),
      )
    ) {
      throw new Error('differingEntries and a scan of both states disagree');
    }
    return measure(`state groups, ${members} entries, ${CHANGES} changes`, size, CHANGES, answer, [
      { name: 'write whole states', run: () => changeOnce(true).length },
      { name: 'change one entry each', run: () => changeOnce(false).length },
      { name: 'find the differing entries', run: () => differences().length },
    ]);
  });
}
