/** The index of auth events: it agrees with the walks of auth-chain.ts whatever went before, and touches what differs only. */

import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { AuthEvent } from '../../../src/kernel/matrix/auth-event.js';
import type { EventId, RoomId, UserId } from '../../../src/kernel/matrix/ids.js';
import { roomVersionRules } from '../../../src/kernel/matrix/room-versions.js';
import { authChainOf, authDifferenceOf, conflictedStateSubgraphOf } from '../../../src/kernel/state-res/auth-chain.js';
import { AuthGraph } from '../../../src/kernel/state-res/auth-graph.js';
import { type EventSource, eventSourceOf } from '../../../src/kernel/state-res/event-source.js';

const rules = roomVersionRules('11')!;
const EVENTS = 40;
const id = (number: number) => `$${number}` as EventId;
const sorted = (numbers: Iterable<number>) => [...numbers].sort((x, y) => x - y);
const numbers = (ids: Iterable<EventId>) => sorted([...ids].map((eventId) => Number(eventId.slice(1))));

/** Events 1, 2, ...: event n cites `cited[n - 1]`. Numbers are shuffled as NIDs are, so that order says nothing. */
function graphOf(cited: readonly (readonly number[])[]): { source: EventSource; graph: AuthGraph; asked: number[] } {
  const events = new Map<EventId, AuthEvent>();
  for (const [index, list] of cited.entries()) {
    const event = {
      eventId: id(index + 1),
      roomId: '!r:a.test' as RoomId,
      type: 'org.test.vertex',
      stateKey: `${index}`,
      sender: '@alice:a.test' as UserId,
      content: {},
      originServerTs: 1,
      depth: 1,
      authEventIds: list.map(id),
      prevEventIds: [],
      redacts: undefined,
      rejected: false,
    };
    events.set(event.eventId, event);
  }
  const asked: number[] = [];
  const graph = new AuthGraph((number) => {
    asked.push(number);
    return cited[number - 1];
  });
  return { source: eventSourceOf(events), graph, asked };
}

/** A graph without cycles whose numbers are in no order: vertex v is numbered rank[v] + 1 and cites earlier vertices. */
const acyclic = fc
  .tuple(
    fc.array(fc.array(fc.nat(EVENTS - 1), { maxLength: 4 }), { minLength: EVENTS, maxLength: EVENTS }),
    fc.shuffledSubarray([...Array(EVENTS).keys()], { minLength: EVENTS }),
  )
  .map(([lists, rank]) => {
    const cited: number[][] = Array.from({ length: EVENTS }, () => []);
    for (const [vertex, list] of lists.entries()) {
      cited[rank[vertex]!] = [...new Set(list.filter((to) => to < vertex))].map((to) => rank[to]! + 1);
    }
    return cited;
  });
const state = fc.uniqueArray(fc.integer({ min: 1, max: EVENTS }), { maxLength: 12 });

describe('the index of auth events', () => {
  it('gives the auth chain of the state, after any changes of the state', () => {
    fc.assert(
      fc.property(acyclic, fc.array(state, { minLength: 1, maxLength: 5 }), (cited, states) => {
        const { source, graph } = graphOf(cited);
        let before: number[] = [];
        for (const wanted of states) {
          graph.changeState(
            wanted.filter((event) => !before.includes(event)),
            before.filter((event) => !wanted.includes(event)),
          );
          before = wanted;
          const chain = numbers(authChainOf(rules, wanted.map(id), source));
          const all = [...Array(EVENTS).keys()].map((index) => index + 1);
          expect(all.filter((event) => graph.isInAuthChain(event))).toEqual(chain);
        }
      }),
    );
  });

  it('gives the auth difference that the walks over whole chains give', () => {
    const sets = fc.array(state, { minLength: 1, maxLength: 4 });
    fc.assert(
      fc.property(acyclic, sets, state, (cited, chosen, others) => {
        const { source, graph } = graphOf(cited);
        const shared = (chosen[0] ?? []).filter((event) => chosen.every((set) => set.includes(event)));
        graph.changeState(others, []);
        graph.changeState(
          shared,
          others.filter((event) => !shared.includes(event)),
        );
        const own = chosen.map((set) => set.filter((event) => !shared.includes(event)));
        const expected = authDifferenceOf(
          rules,
          chosen.map((set) => set.map(id)),
          source,
        );
        expect(sorted(graph.authDifference(own))).toEqual(numbers(expected));
      }),
    );
  });

  it('gives the conflicted state subgraph that the walk over whole chains gives', () => {
    fc.assert(
      fc.property(acyclic, state, (cited, conflicted) => {
        const { source, graph } = graphOf(cited);
        const expected = numbers(conflictedStateSubgraphOf(rules, conflicted.map(id), source));
        expect(sorted(graph.conflictedSubgraph(conflicted))).toEqual(expected);
        expect(sorted(graph.conflictedSubgraph([...conflicted].reverse()))).toEqual(expected);
      }),
    );
  });

  it('ends on cycles, which rooms of versions 1 and 2 can have', () => {
    const { graph } = graphOf([[2], [3], [1, 4], []]);
    graph.changeState([1], []);
    expect([1, 2, 3, 4].filter((event) => graph.isInAuthChain(event))).toEqual([1, 2, 3, 4]);
    expect(sorted(graph.conflictedSubgraph([1, 4]))).toContain(4);
    expect(graph.authDifference([[2], []])).toEqual([]);
  });

  it('names the events that were not known when it met them', () => {
    const { graph } = graphOf([[2, 7], []]);
    graph.changeState([1], []);
    expect(graph.unknownEvents).toEqual([7]);
    expect(graph.isInAuthChain(7)).toBe(true);
  });

  it('asks for the auth events of each event once, and never recurses: 100,000 events deep', () => {
    const LENGTH = 100_000;
    const { graph, asked } = graphOf(Array.from({ length: LENGTH }, (_, index) => (index === 0 ? [] : [index])));
    graph.changeState([LENGTH], []);
    expect(graph.isInAuthChain(1)).toBe(true);
    graph.changeState([LENGTH / 2], [LENGTH]);
    expect(graph.isInAuthChain(LENGTH / 2)).toBe(false);
    expect(graph.authDifference([[LENGTH], []])).toHaveLength(LENGTH / 2);
    expect(graph.conflictedSubgraph([1, LENGTH])).toHaveLength(LENGTH);
    expect(asked).toHaveLength(LENGTH);
    expect(graph.size).toBe(LENGTH);
  });
});
