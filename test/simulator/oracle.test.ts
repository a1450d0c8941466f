/**
 * The simulator's oracle: a story in which the two joins may differ on some events is compared again and again, each time with
 * another wrong difference planted into what the joining server has stored; none may be forgiven.
 */

import { beforeAll, describe, expect, it } from 'vitest';
import type { Federation } from '../../scripts/simulate/federation.js';
import type { Comparison } from '../../scripts/simulate/oracle/compare-rooms.js';
import { standing } from '../../scripts/simulate/oracle/read-room.js';
import type { SimulationResult } from '../../scripts/simulate/run-simulation.js';
import { runSimulation } from '../../scripts/simulate/run-simulation.js';
import { eventStatus, StatusBit, setEventStatus, VERDICT_BITS, Verdict } from '../../src/store/event-status.js';
import { loadRecord } from '../../src/store/events.js';
import type { EventNid } from '../../src/store/nids.js';
import type { StoreWriter } from '../../src/store/open-store.js';
import type { Room } from '../../src/store/rooms.js';
import { putRoom } from '../../src/store/rooms.js';
import { eventContext, putEventContext } from '../../src/store/timeline.js';

/** Three events of it are soft-failed by a full join. */
const SEED = 1;
const RUN_MS = 120_000;

/** One wrong difference: changes one event of hs2's, and gives what undoes it. */
interface Plant {
  readonly title: string;
  /** Which event it may be planted on. */
  readonly on: (f: Federation, nid: EventNid) => boolean;
  readonly change: (writer: StoreWriter, room: Room, nid: EventNid, f: Federation) => void;
  readonly expected: RegExp;
}

const accepted = ({ hs2 }: Federation, nid: EventNid) => standing(hs2.store, nid) === 'accepted';
const flip = (bits: number) => (writer: StoreWriter, _room: Room, nid: EventNid) =>
  setEventStatus(writer, nid, eventStatus(writer, nid) ^ bits);
const setVerdict = (verdict: Verdict) => (writer: StoreWriter, _room: Room, nid: EventNid) =>
  setEventStatus(writer, nid, (eventStatus(writer, nid) & ~VERDICT_BITS) | verdict);

const PLANTS: readonly Plant[] = [
  {
    title: 'an event that came while the state was partial is soft-failed, and not by the full join',
    on: (f, nid) => f.hs2.decidedWhilePartial.has(nid) && accepted(f, nid),
    change: flip(StatusBit.softFailed),
    expected: /is soft-failed, a full join has it accepted/,
  },
  {
    title: 'an event that came when the state was full is soft-failed, and not by the full join',
    on: (f, nid) => !f.hs2.decidedWhilePartial.has(nid) && accepted(f, nid),
    change: flip(StatusBit.softFailed),
    expected: /is soft-failed, a full join has it accepted/,
  },
  {
    title: 'an event is rejected, and not by the full join',
    on: accepted,
    change: setVerdict(Verdict.rejected),
    expected: /is rejected, a full join has it accepted/,
  },
  {
    title: 'an event is accepted that the full join rejects',
    on: ({ hs2 }, nid) => standing(hs2.store, nid) === 'rejected',
    change: setVerdict(Verdict.accepted),
    expected: /is accepted, a full join has it rejected/,
  },
  {
    title: 'an event is redacted, and not in the full join',
    on: accepted,
    change: flip(StatusBit.redacted),
    expected: /redacted and should (not )?be/,
  },
  {
    title: 'the state before an event is another one',
    on: (f, nid) => nid !== f.hs2.decided[0] && accepted(f, nid),
    change: (writer, _room, nid, f) => {
      const first = eventContext(writer, f.hs2.decided[0] as EventNid)?.before;
      const context = eventContext(writer, nid);
      if (first === undefined || context === undefined) throw new Error('no states to exchange');
      putEventContext(writer, nid, { ...context, before: first });
    },
    expected: /before \$.* is .* and should be/,
  },
  {
    title: 'an event is a forward extremity that another follows upon',
    on: (f, nid) => nid === f.hs2.decided[0],
    change: (writer, room, nid) => putRoom(writer, room.nid, { ...room, extremities: [...room.extremities, nid] }),
    expected: /is a forward extremity and should not be/,
  },
  {
    title: 'the current state is an older one',
    on: (f, nid) => nid === f.hs2.decided[0],
    change: (writer, room, nid) => {
      const currentGroup = eventContext(writer, nid)?.before;
      if (currentGroup === undefined) throw new Error('no state to put in');
      putRoom(writer, room.nid, { ...room, currentGroup });
    },
    expected: /is .* and should be/,
  },
];

/** A state event that came with the state and is none of the timeline. */
function outlier({ hs2 }: Federation): EventNid {
  const inTimeline = new Set(hs2.decided);
  for (let nid = 1 as EventNid; ; nid++) {
    const record = loadRecord(hs2.store, nid);
    if (record?.type === 'm.room.member' && !inTimeline.has(nid)) return nid;
  }
}

describe('the oracle, in a story with differences that are allowed', { timeout: RUN_MS }, () => {
  const found = new Map<string, Comparison>();
  let result: SimulationResult;

  beforeAll(async () => {
    result = await runSimulation({
      seed: SEED,
      probe: async (f, compareAgain) => {
        const { hs2, roomId } = f;
        const plant = async (title: string, nid: EventNid, change: Plant['change']) => {
          const room = hs2.loadRoom(roomId) as Room;
          const status = eventStatus(hs2.store, nid);
          const context = eventContext(hs2.store, nid);
          hs2.store.write((writer) => change(writer, room, nid, f));
          found.set(title, await compareAgain());
          hs2.store.write((writer) => {
            setEventStatus(writer, nid, status);
            if (context !== undefined) putEventContext(writer, nid, context);
            putRoom(writer, room.nid, room);
          });
        };
        for (const { title, on, change } of PLANTS) {
          const nid = hs2.decided.findLast((event) => on(f, event));
          if (nid === undefined) throw new Error(`no event for: ${title}`);
          await plant(title, nid, change);
        }
        await plant('outlier', outlier(f), setVerdict(Verdict.rejected));
        found.set('nothing', await compareAgain());
      },
    });
  }, RUN_MS);

  it('allows what a full join soft-failed, by name', () => {
    expect(result.problems).toEqual([]);
    expect(result.allowed).toHaveLength(3);
    expect(found.get('nothing')).toMatchObject({ differences: [], allowed: result.allowed });
  });

  it.each(PLANTS)('fails where $title', ({ title, expected }) => {
    expect(found.get(title)?.differences.join('\n')).toMatch(expected);
  });

  it('fails where an event that came with the state is rejected, and not by the full join', () => {
    expect(found.get('outlier')?.differences.join('\n')).toMatch(/no event of the timeline, is rejected, a full join/);
  });
});
