/** Forks from numbers, for properties: attempts to send events, of which those are made that the rules allow. */

import fc from 'fast-check';
import { checkAuthRules } from '../../src/kernel/event-auth/check-auth-rules.js';
import { ALICE, BOB, CAROL, type Fork, MALLORY, RoomBuilder, type Sent } from './room-builder.js';

const USERS = [ALICE, BOB, CAROL, MALLORY];

/** One attempt to send an event on one of the forks, from numbers. */
export interface Attempt {
  readonly fork: number;
  readonly sender: number;
  readonly target: number;
  readonly kind: number;
  readonly ts: number;
}

export const attempt: fc.Arbitrary<Attempt> = fc.record({
  fork: fc.nat(2),
  sender: fc.nat(3),
  target: fc.nat(3),
  kind: fc.nat(6),
  ts: fc.nat(5),
});

function sentBy(room: RoomBuilder, { sender, target, kind, ts }: Attempt, label: string): Sent {
  const from = USERS[sender]!;
  const to = USERS[target]!;
  const shape = { label, sender: from, ts: 2_000 + ts };
  const membership = ['join', 'leave', 'ban', 'invite'][kind];
  if (membership !== undefined) {
    return { ...shape, type: 'm.room.member', stateKey: membership === 'join' ? from : to, content: { membership } };
  }
  if (kind === 4) return { ...shape, type: 'm.room.topic', stateKey: '', content: { topic: label } };
  if (kind === 5) {
    const joinRule = target % 2 === 0 ? 'public' : 'invite';
    return { ...shape, type: 'm.room.join_rules', stateKey: '', content: { join_rule: joinRule } };
  }
  const creator = room.rules.privilegedCreators ? {} : { [ALICE]: 100 };
  const users = { ...creator, [BOB]: 50, [USERS[1 + (target % 3)]!]: 25 * ts };
  return { ...shape, type: 'm.room.power_levels', stateKey: '', content: { users } };
}

/** Three forks that grew by those of the attempts that the rules allowed. */
export function growForks(version: string, attempts: readonly Attempt[]): { room: RoomBuilder; forks: Fork[] } {
  const room = new RoomBuilder(version);
  const base = room.startWith([BOB, CAROL], { [BOB]: 50 });
  const forks = [base, base, base];
  for (const [index, tried] of attempts.entries()) {
    const fork = forks[tried.fork]!;
    const event = room.make(fork, sentBy(room, tried, `${(index * 7) % 100}-${index}`));
    const { allowed } = checkAuthRules(room.rules, event, room.lookupOn(fork));
    if (allowed) forks[tried.fork] = room.add(fork, event);
  }
  return { room, forks };
}
