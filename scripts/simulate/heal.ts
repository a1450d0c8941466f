/**
 * The end of every story: nothing goes wrong any more, the room lets our user in again where it can, and what was joined must
 * become full. Where the room has shut our users out for good, the join has to rest: nothing is asked while the room is
 * paused, little while it is partial, and an operator can read why. Then the residents are made to answer once more, as
 * if one of our users were in, because what came until then is to be judged right as well.
 */

import type { EventId } from '../../src/kernel/matrix/ids.js';
import { SERVERS_A_ROUND_MAX } from '../../src/partial-state/resyncs.js';
import { eventNidOf } from '../../src/store/events.js';
import {
  addJoinedCounts,
  allRooms,
  isServerJoined,
  loadPartialState,
  putRoom,
  roomNidOf,
} from '../../src/store/rooms.js';
import { eventContext, localMembership } from '../../src/store/timeline.js';
import type { Federation } from './federation.js';
import { ALICE, BEA, BOB, DAY_MS, HS1, HS2, HS3, MINUTE_MS } from './federation.js';
import type { Scenario } from './scenario.js';

/** How often it is looked whether the room is full, in milliseconds. */
const LOOK_MS = 20_000;
/** Rounds of a resync in a day: five that come closer together than an hour, then one each hour, jitter included. */
const ROUNDS_A_DAY_MAX = 40;

/**
 * `in`: the room is full and was joined to the end. `out`: it was made full after our users were out of it. `never`: no join
 * ever came about.
 */
export type Healed = 'in' | 'out' | 'never';

/** Lets the join come to its end. Throws where it does not. */
export async function heal(federation: Federation, scenario: Scenario): Promise<Healed> {
  const f = federation;
  const { hs1, hs2, hs3, network, roomId, bugs } = f;
  network.rates = undefined;
  scenario.endCrashes();
  await f.pass(5 * MINUTE_MS);
  // A life that had begun may still end at the write that was planned for it.
  const startAgain = () => {
    for (const server of [hs1, hs2]) if (server.life === undefined) server.start();
  };
  const letJoin = async () => {
    startAgain();
    await f.settle(() => scenario.quietly(() => scenario.join(hs2, BOB, [HS1, HS3])));
    startAgain();
  };
  startAgain();
  const room = () => (hs2.life === undefined ? undefined : hs2.loadRoom(roomId));
  const isIn = () => room() !== undefined && room()?.residency !== 'paused';
  for (let n = 0; n < 3 && !isIn(); n++) {
    await f.settle(() => scenario.quietly(() => scenario.memberSend(hs1, ALICE, BOB, 'leave')));
    await f.pass(MINUTE_MS);
    await letJoin();
  }
  if (!isIn()) {
    // Whoever still can opens the room.
    await f.settle(() => scenario.quietly(() => scenario.memberSend(hs1, ALICE, ALICE, 'join')));
    await f.settle(() => scenario.quietly(() => scenario.memberSend(hs1, ALICE, BOB, 'leave')));
    await f.settle(() => scenario.quietly(() => scenario.memberSend(hs1, ALICE, BOB, 'invite')));
    await f.pass(MINUTE_MS);
    for (let n = 0; n < 2 && !isIn(); n++) await letJoin();
  }
  if (room() === undefined) {
    bugs.push(...leftovers(f));
    return 'never';
  }
  const last = await lastMessage(f, scenario);
  const isFull = () => room()?.residency === 'full-state';
  if (await within(f, isFull, DAY_MS)) return settled(f, 'in', last);
  if (hs3.life === undefined) hs3.start();
  const asked = () => network.asked.get(`${HS2} v1/state_ids`) ?? 0;
  const askedBefore = asked();
  const pausedBefore = room()?.residency === 'paused';
  if (await within(f, isFull, DAY_MS)) return settled(f, 'in', last);
  const askedADay = asked() - askedBefore;
  await within(f, () => hs1.life !== undefined && hs2.life !== undefined, DAY_MS);
  const there = hs1.loadRoom(roomId);
  const isTaken = there !== undefined && isServerJoined(hs1.store, there.nid, HS2);
  if (isIn() && isTaken) throw new Error('the room never became full');
  const isPaused = room()?.residency === 'paused';
  if (isPaused && pausedBefore && askedADay > 0) bugs.push(`the room is paused and was asked about ${askedADay} times`);
  if (askedADay > ROUNDS_A_DAY_MAX * SERVERS_A_ROUND_MAX)
    bugs.push(`a refusal was asked for ${askedADay} times in a day`);
  const row = loadPartialState(hs2.store, room()?.nid ?? (0 as never));
  if (!isPaused && !/403/.test(row?.lastFailure ?? '')) bugs.push(`nobody can read why: ${row?.lastFailure}`);
  letIn(f);
  if (!(await within(f, isFull, DAY_MS))) throw new Error('the room never became full, our users being out of it');
  return settled(f, 'out');
}

/** As if one of our users were in the room, without an event that says so. */
function letIn({ hs1, hs2, hs3, roomId }: Federation): void {
  for (const server of [hs1, hs2, hs3]) {
    const room = server.life === undefined ? undefined : server.loadRoom(roomId);
    if (room === undefined) continue;
    const isJoined = isServerJoined(server.store, room.nid, HS2);
    server.store.write((writer) => {
      if (!isJoined) addJoinedCounts(writer, room.nid, new Map([[HS2, 1]]));
      if (server === hs2) putRoom(writer, room.nid, { ...room, residency: 'partial-state' });
    });
  }
  hs2.running.resyncs.start(roomId);
}

/** What a join that was refused has left behind and should not have. */
function leftovers({ hs2, roomId }: Federation): string[] {
  const { store } = hs2;
  const nid = roomNidOf(store, roomId);
  const rooms = [...allRooms(store)].map((room) => `no join came about, and ${room.roomId} is ${room.residency}`);
  const marks = [...store.tables.partial_state_events.getKeys({})].map(
    (key) => `no join came about, and ${key} is marked`,
  );
  const told = [BOB, BEA].filter((user) => nid !== undefined && localMembership(store, user, nid) !== undefined);
  return [...rooms, ...marks, ...told.map((user) => `no join came about, and ${user} has a membership`)];
}

/** The room's last word, said when nothing goes wrong any more; undefined where it is not for the joining server. */
async function lastMessage(f: Federation, scenario: Scenario): Promise<EventId | undefined> {
  const { hs1, roomId } = f;
  let last: EventId | undefined;
  await f.settle(() =>
    scenario.quietly(async () => {
      const there = hs1.loadRoom(roomId);
      const isTold = there !== undefined && isServerJoined(hs1.store, there.nid, HS2);
      const said = await scenario.say(hs1, ALICE);
      if (isTold) last = said;
    }),
  );
  return last;
}

/** What was on its way arrives. What is compared is what came: so that nothing can be lost, the last word must have come. */
async function settled(f: Federation, outcome: Healed, last?: EventId): Promise<Healed> {
  await f.pass(10 * MINUTE_MS);
  const hasLast = () => {
    const nid = last === undefined || f.hs2.life === undefined ? undefined : eventNidOf(f.hs2.store, last);
    return nid !== undefined && eventContext(f.hs2.store, nid) !== undefined;
  };
  if (last !== undefined && !(await within(f, hasLast, DAY_MS)))
    f.bugs.push(`${last}, the last message, never came in`);
  return outcome;
}

async function within(f: Federation, done: () => boolean, ms: number): Promise<boolean> {
  const untilTs = f.time.now() + ms;
  // Looked at now and then only: each look at a store makes a timer of its own.
  while (!done()) {
    if (f.time.now() >= untilTs) return false;
    await f.pass(LOOK_MS);
  }
  return true;
}
