/** Auth chain, auth difference and conflicted state subgraph, on small graphs and on one 100,000 events deep. */

import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { AuthEvent } from '../../../src/kernel/matrix/auth-event.js';
import type { EventId, RoomId, UserId } from '../../../src/kernel/matrix/ids.js';
import { roomVersionRules } from '../../../src/kernel/matrix/room-versions.js';
import { authChainOf, authDifferenceOf, conflictedStateSubgraphOf } from '../../../src/kernel/state-res/auth-chain.js';
import { type EventSource, eventSourceOf } from '../../../src/kernel/state-res/event-source.js';
import { resolveState } from '../../../src/kernel/state-res/resolve-state.js';
import { CREATE_KEY, POWER_LEVELS_KEY, stateKeyOf } from '../../../src/kernel/state-res/state-map.js';
import { ALICE, BOB, RoomBuilder } from '../../rooms/room-builder.js';

const v11 = roomVersionRules('11')!;
const v12 = roomVersionRules('12')!;
const id = (name: string | number) => `$${name}` as EventId;

/** Events that have auth_events and nothing else of interest; `$create` is a create event. */
function graph(edges: Record<string, readonly string[]>): EventSource {
  const events = new Map<EventId, AuthEvent>();
  for (const [name, authEvents] of Object.entries(edges)) {
    events.set(id(name), {
      eventId: id(name),
      roomId: '!create' as RoomId,
      type: name === 'create' ? 'm.room.create' : 'org.test.vertex',
      stateKey: name,
      sender: ALICE as UserId,
      content: {},
      originServerTs: 1,
      depth: 1,
      authEventIds: authEvents.map(id),
      prevEventIds: [],
      redacts: undefined,
      rejected: false,
    });
  }
  return eventSourceOf(events);
}

const names = (ids: Iterable<EventId>) => [...ids].map((eventId) => eventId.slice(1)).sort();
const ids = (...list: string[]) => list.map(id);

describe('the auth chain', () => {
  const source = graph({ create: [], a: ['create'], b: ['a'], c: ['a', 'create'], d: ['b', 'c', 'unknown'] });
  it('is all auth events of all auth events, and not the event itself', () => {
    expect(names(authChainOf(v11, ids('d'), source))).toEqual(['a', 'b', 'c', 'create', 'unknown']);
    expect(names(authChainOf(v11, ids('b', 'a'), source))).toEqual(['a', 'create']);
    expect(names(authChainOf(v11, ids('create'), source))).toEqual([]);
  });
  it('has the implied create event from version 12 on', () => {
    const implied = graph({ create: [], a: [], b: ['a'] });
    expect(names(authChainOf(v12, ids('b'), implied))).toEqual(['a', 'create']);
    expect(names(authChainOf(v11, ids('b'), implied))).toEqual(['a']);
  });
});

describe('the auth difference', () => {
  it('is what is in some auth chains and not in all', () => {
    const source = graph({ create: [], a: ['create'], b: ['a'], c: ['a'], x: ['b'], y: ['c'], z: ['b', 'c'] });
    expect(names(authDifferenceOf(v11, [ids('x'), ids('y')], source))).toEqual(['b', 'c']);
    expect(names(authDifferenceOf(v11, [ids('x', 'a'), ids('z', 'a')], source))).toEqual(['c']);
    expect(names(authDifferenceOf(v11, [ids('x'), ids('x')], source))).toEqual([]);
    expect(names(authDifferenceOf(v11, [], source))).toEqual([]);
  });
  it('agrees with its definition on any graph', () => {
    const edges = fc.array(fc.array(fc.nat(30), { maxLength: 4 }), { minLength: 30, maxLength: 30 });
    const sets = fc.array(fc.array(fc.nat(29), { maxLength: 8 }), { minLength: 1, maxLength: 4 });
    fc.assert(
      fc.property(edges, sets, (cited, chosen) => {
        const vertices = cited.map((list, index) => [`${index}`, list.filter((to) => to < index).map(String)] as const);
        const source = graph(Object.fromEntries(vertices));
        const stateSets = chosen.map((set) => set.map(id));
        const chains = stateSets.map((set) => authChainOf(v11, set, source));
        const union = new Set(chains.flatMap((chain) => [...chain]));
        const expected = [...union].filter((eventId) => !chains.every((chain) => chain.has(eventId)));
        expect(names(authDifferenceOf(v11, stateSets, source))).toEqual(names(expected));
      }),
    );
  });
});

describe('the conflicted state subgraph', () => {
  it('has the events on paths between conflicted ones, and no others', () => {
    const source = graph({
      create: [],
      a: ['create'],
      b: ['a'],
      c: ['b'],
      d: ['c', 'side'],
      side: ['create'],
      e: ['d'],
    });
    expect(names(conflictedStateSubgraphOf(v11, ids('a', 'd'), source))).toEqual(['a', 'b', 'c', 'd']);
    expect(names(conflictedStateSubgraphOf(v11, ids('d', 'side'), source))).toEqual(['d', 'side']);
    expect(names(conflictedStateSubgraphOf(v11, ids('c'), source))).toEqual(['c']);
  });
});

describe('an auth chain of 100,000 power levels events', () => {
  const LENGTH = 100_000;
  const room = new RoomBuilder('12');
  const base = room.startWith([BOB], { [BOB]: 100 });
  let previous = room.events.get(base.state.get(POWER_LEVELS_KEY)!)!;
  const join = base.state.get(stateKeyOf('m.room.member', BOB))!;
  for (let index = 0; index < LENGTH; index += 1) {
    const eventId = id(`levels-${index}`);
    const authEventIds = [previous.eventId, join];
    previous = { ...previous, eventId, authEventIds, sender: BOB as UserId, originServerTs: 5_000 + index };
    room.events.set(eventId, previous);
  }
  const newest = new Map(base.state).set(POWER_LEVELS_KEY, previous.eventId);

  it('is walked without overflowing the stack', () => {
    expect(authChainOf(room.rules, [previous.eventId], room).size).toBeGreaterThan(LENGTH);
    const conflicted = [previous.eventId, base.state.get(POWER_LEVELS_KEY)!];
    // Beside the chain and its end: Bob's join, which all of it cites, and the join rules that the join cites.
    expect(conflictedStateSubgraphOf(room.rules, conflicted, room).size).toBe(LENGTH + 3);
  });

  /** The same events as version 11 lists them: with the create event among the auth_events. */
  const listed = new Map<EventId, AuthEvent>();
  for (const event of room.events.values()) {
    const create = event.type === 'm.room.create' ? [] : [base.state.get(CREATE_KEY)!];
    listed.set(event.eventId, { ...event, authEventIds: [...create, ...event.authEventIds] });
  }

  it('is replayed to its newest event, in version 11 and in version 12', () => {
    const forks = [base.state, newest];
    expect(resolveState(room.rules, forks, room).resolved).toEqual(newest);
    expect(resolveState(v11, forks, eventSourceOf(listed)).resolved).toEqual(newest);
  });

  it('is walked once by the mainline ordering, however many events stand on it', () => {
    const create = base.state.get(CREATE_KEY)!;
    const positions = Array.from({ length: 200 }, (_, index) => (index * 487) % LENGTH);
    const forks = positions.map((position, index) => {
      const authEventIds = [create, id(`levels-${position}`), join];
      const topic = { ...listed.get(create)!, type: 'm.room.topic', sender: BOB as UserId, originServerTs: 1 };
      listed.set(id(`topic-${index}`), { ...topic, eventId: id(`topic-${index}`), authEventIds });
      return new Map(newest).set(stateKeyOf('m.room.topic', ''), id(`topic-${index}`));
    });
    let asked = 0;
    const source: EventSource = {
      event: (eventId) => {
        asked += 1;
        return listed.get(eventId);
      },
    };
    const newestTopic = id(`topic-${positions.indexOf(Math.max(...positions))}`);
    expect(resolveState(v11, forks, source).resolved.get(stateKeyOf('m.room.topic', ''))).toBe(newestTopic);
    expect(asked).toBeLessThan(10 * LENGTH);
  });
});
