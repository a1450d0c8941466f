/**
 * The same events resolved in three ways: one by one along prev_events, as a server meets them; in batches on top of what
 * was resolved before; and all at once, each event a state set of its own. Where every event names what it rests on, the
 * algorithm gives one state. (In general it does not: two resolutions of two are not one of three.)
 */

import { describe, expect, it } from 'vitest';
import type { AuthEvent } from '../../src/kernel/matrix/auth-event.js';
import type { EventId } from '../../src/kernel/matrix/ids.js';
import { resolveState } from '../../src/kernel/state-res/resolve-state.js';
import { type StateMap, stateKeyOf } from '../../src/kernel/state-res/state-map.js';
import { ALICE, BOB, CAROL, type Fork, MALLORY, printState, RoomBuilder } from './room-builder.js';

const keyOf = (event: AuthEvent) => stateKeyOf(event.type, event.stateKey!);

/** Resolves along prev_events; the state of the room is that of its last events together. */
function oneByOne(room: RoomBuilder): StateMap {
  const after = new Map<EventId, StateMap>();
  const cited = new Set<EventId>();
  for (const event of room.events.values()) {
    const before = event.prevEventIds.map((id) => after.get(id)!);
    for (const id of event.prevEventIds) cited.add(id);
    const { resolved } = resolveState(room.rules, before, room);
    after.set(event.eventId, new Map(resolved).set(keyOf(event), event.eventId));
  }
  const last = [...after].filter(([id]) => !cited.has(id)).map(([, state]) => state);
  return resolveState(room.rules, last, room).resolved;
}

/** Resolves each batch, its events one state set each, with what came of the batches before. */
function inBatches(room: RoomBuilder, batches: readonly (readonly AuthEvent[])[]): StateMap {
  let state: StateMap | undefined;
  for (const batch of batches) {
    const sets = batch.map((event) => new Map([[keyOf(event), event.eventId]]));
    state = resolveState(room.rules, state === undefined ? sets : [state, ...sets], room).resolved;
  }
  return state ?? new Map();
}

/** What happens on two forks after a common beginning, and who stands where in the end. */
interface Story {
  readonly title: string;
  /** Who is joined beside Alice. All at once, a join that nothing with power rests on is checked on the last join rules. */
  readonly joined?: readonly string[];
  readonly forks: (room: RoomBuilder, base: Fork) => void;
  readonly winners: Readonly<Record<string, string>>;
}

const levels = (room: RoomBuilder, users: Record<string, number>) =>
  room.rules.privilegedCreators ? users : { [ALICE]: 100, ...users };

const STORIES: readonly Story[] = [
  {
    title: 'a ban and the power levels that the banned moderator sent',
    forks: (room, base) => {
      room.member(base, 'ban-bob', ALICE, BOB, 'ban', 5_000);
      room.powerLevels(base, 'promote-carol', BOB, levels(room, { [BOB]: 50, [CAROL]: 50 }), 4_000);
    },
    winners: { [`m.room.member ${BOB}`]: 'ban-bob', 'm.room.power_levels ': 'power-levels' },
  },
  {
    title: 'a demotion and the topic that the demoted moderator set',
    forks: (room, base) => {
      room.powerLevels(base, 'demote-bob', ALICE, levels(room, { [BOB]: 0 }), 5_000);
      room.state(base, 'new-topic', BOB, 'm.room.topic', { topic: 'x' }, 4_000);
    },
    winners: { 'm.room.power_levels ': 'demote-bob', 'm.room.topic ': 'topic' },
  },
  {
    title: 'closed join rules and a join',
    joined: [],
    forks: (room, base) => {
      room.state(base, 'close', ALICE, 'm.room.join_rules', { join_rule: 'invite' }, 4_000);
      room.member(base, 'join-mallory', MALLORY, MALLORY, 'join', 5_000);
    },
    winners: { 'm.room.join_rules ': 'close' },
  },
  {
    title: 'joins that came at the same time',
    forks: (room, base) => {
      room.member(base, 'join-mallory', MALLORY, MALLORY, 'join', 4_000);
      room.member(base, 'join-zoe', '@zoe:z.test', '@zoe:z.test', 'join', 4_000);
    },
    winners: { [`m.room.member ${MALLORY}`]: 'join-mallory', 'm.room.member @zoe:z.test': 'join-zoe' },
  },
  {
    title: 'two join rules whose order only the timestamps tell, against that of the event IDs',
    joined: [],
    forks: (room, base) => {
      room.state(base, 'b-earlier', ALICE, 'm.room.join_rules', { join_rule: 'invite' }, 4_000);
      room.state(base, 'a-later', ALICE, 'm.room.join_rules', { join_rule: 'public' }, 4_001);
    },
    winners: { 'm.room.join_rules ': 'a-later' },
  },
];

describe.each(['2', '10', '11', '12'])('in a room of version %s', (version) => {
  it.each(STORIES)('one by one, in batches and at once agree: $title', ({ joined = [BOB, CAROL], forks, winners }) => {
    const room = new RoomBuilder(version);
    let base = room.startWith(joined, { [BOB]: 50 });
    base = room.state(base, 'topic', ALICE, 'm.room.topic', { topic: 'old' });
    const begun = room.events.size;
    forks(room, base);
    const events = [...room.events.values()];
    const expected = printState(oneByOne(room));
    expect(
      printState(inBatches(room, [events.slice(0, begun), ...events.slice(begun).map((event) => [event])])),
    ).toEqual(expected);
    expect(printState(inBatches(room, [events]))).toEqual(expected);
    expect(printState(inBatches(room, [[...events].reverse()]))).toEqual(expected);
    for (const [key, label] of Object.entries(winners))
      expect(expected[key.replace(' ', ' | ')]).toBe(room.idOf(label));
    expect(Object.keys(expected).some((key) => key.endsWith(MALLORY))).toBe(`m.room.member ${MALLORY}` in winners);
  });
});
