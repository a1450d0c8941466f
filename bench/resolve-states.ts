/**
 * Question: what does it cost to resolve two large states that differ in little, when the thread has done so before, and
 * does the cost grow with the difference or with the room?
 *
 * Workload: two forks, each with its own chain of power levels events, on which the members in conflict rest; v11 if not
 * said otherwise. Beside it the auth difference alone: from the auth graph, and from bit sets over whole auth chains, which
 * hold the graph in memory too. Cannot show: a store that does not fit into memory, forks that differ in everything.
 */

import { AuthGraph } from '../src/kernel/state-res/auth-graph.js';
import type { EventNid } from '../src/store/nids.js';
import { differingEntries } from '../src/store/state-groups.js';
import { resolveGroups } from '../src/workers/jobs/resolve-groups.js';
import { WorkerContext } from '../src/workers/worker-context.js';
import { type ForkedRoom, storeForkedRoom } from './forked-room.js';
import type { BenchReport, BenchSize } from './measure.js';
import { measure, mustEqual } from './measure.js';
import { withStore } from './stored-room.js';

interface Case {
  readonly version: string;
  readonly entries: number;
  readonly differing: number;
  readonly depth: number;
}

const CASES: Readonly<Record<BenchSize, readonly Case[]>> = {
  smoke: [
    { version: '11', entries: 300, differing: 20, depth: 40 },
    { version: '12', entries: 300, differing: 20, depth: 40 },
  ],
  full: [
    { version: '11', entries: 85_000, differing: 1_000, depth: 5_000 },
    { version: '11', entries: 40_000, differing: 1_000, depth: 5_000 },
    { version: '11', entries: 10_000, differing: 1_000, depth: 5_000 },
    { version: '11', entries: 85_000, differing: 250, depth: 1_250 },
    { version: '12', entries: 85_000, differing: 1_000, depth: 5_000 },
  ],
};

export async function run(size: BenchSize): Promise<BenchReport> {
  return withStore(async (store) => {
    const rooms = CASES[size].map((wanted) => {
      // A thread for each room: what one keeps of a room would not hold all of them.
      return { wanted, room: storeForkedRoom(store, wanted.version, wanted), thread: new WorkerContext(store) };
    });
    const resolve = ({ rules, roomId, roomNid, groups }: ForkedRoom, thread: WorkerContext) => {
      const sets = groups.map((group) => ({ group, overlay: [] }));
      return resolveGroups({ roomVersion: rules.version, roomId, roomNid, sets }, thread);
    };
    const answers = rooms.map(({ wanted, room, thread }) => {
      const { changes, rejected } = resolve(room, thread);
      const differing = [...differingEntries(store, room.groups)].length;
      mustEqual(differing, wanted.differing, 'entries that differ');
      mustEqual(changes.length, wanted.differing, 'entries that were resolved');
      return JSON.stringify([changes, rejected]);
    });
    const [{ room }] = rooms as [(typeof rooms)[0]];
    const graph = graphOf(room);
    const fromGraph = () => differenceFromGraph(graph, room);
    const fromBitSets = () => differenceFromBitSets(room);
    mustEqual(fromGraph().join(), fromBitSets().join(), 'the auth difference');
    const [{ wanted }] = rooms as [(typeof rooms)[0]];
    const name = `resolve 2 states of ${wanted.entries} entries, ${wanted.differing} differing, chains ${wanted.depth} deep`;
    return measure(name, size, wanted.differing, answers.join('\n'), [
      ...rooms.map(({ wanted: { version, entries, differing, depth }, room: own, thread }) => ({
        name: `v${version} ${entries} entries, ${differing} differing, ${depth} deep`,
        run: () => resolve(own, thread).changes.length,
      })),
      {
        name: `first in its thread: graph of ${room.events} events built`,
        run: () => resolve(room, new WorkerContext(store)),
      },
      { name: 'auth difference alone, auth graph', run: fromGraph },
      { name: 'auth difference alone, bit sets', run: fromBitSets },
    ]);
  });
}

/** The graph of the room at the first fork's state. */
function graphOf(room: ForkedRoom): AuthGraph {
  const graph = new AuthGraph((nid) => room.authNids.get(nid as EventNid));
  graph.changeState(room.states[0] as readonly EventNid[], []);
  return graph;
}

function ownEvents({ states }: ForkedRoom): EventNid[][] {
  const sets = states.map((state) => new Set(state));
  return states.map((state, index) => state.filter((nid) => !sets[1 - index]?.has(nid)));
}

const ownByRoom = new WeakMap<ForkedRoom, EventNid[][]>();

function differenceFromGraph(graph: AuthGraph, room: ForkedRoom): number[] {
  let own = ownByRoom.get(room);
  if (own === undefined) {
    own = ownEvents(room);
    ownByRoom.set(room, own);
  }
  graph.changeState([], own[0] as EventNid[]);
  const difference = graph.authDifference(own);
  graph.changeState(own[0] as EventNid[], []);
  return difference.sort((x, y) => x - y);
}

/** One bit set (a byte an event) for each state: its whole auth chain. */
function differenceFromBitSets(room: ForkedRoom): number[] {
  const { edges, offsets, first } = edgesOf(room);
  const chains = room.states.map((state) => {
    const chain = new Uint8Array(room.events);
    const toVisit = [...state] as number[];
    for (let nid = toVisit.pop(); nid !== undefined; nid = toVisit.pop()) {
      for (let edge = offsets[nid - first] as number; edge < (offsets[nid - first + 1] as number); edge++) {
        const cited = edges[edge] as number;
        if (chain[cited - first] === 1) continue;
        chain[cited - first] = 1;
        toVisit.push(cited);
      }
    }
    return chain;
  });
  const difference: number[] = [];
  for (let at = 0; at < room.events; at++) if (chains[0]?.[at] !== chains[1]?.[at]) difference.push(at + first);
  return difference;
}

const edgesByRoom = new WeakMap<ForkedRoom, { edges: Uint32Array; offsets: Uint32Array; first: number }>();

function edgesOf(room: ForkedRoom) {
  let found = edgesByRoom.get(room);
  if (found === undefined) {
    const nids = Uint32Array.from(room.authNids.keys()).sort();
    const lists = [...nids].map((nid) => room.authNids.get(nid as EventNid) as readonly EventNid[]);
    const offsets = new Uint32Array(nids.length + 1);
    for (const [at, list] of lists.entries()) offsets[at + 1] = (offsets[at] as number) + list.length;
    found = { edges: Uint32Array.from(lists.flat()), offsets, first: nids[0] as number };
    edgesByRoom.set(room, found);
  }
  return found;
}
