/**
 * Who joins, leaves, is banned and renames themselves when: the membership history of each user of a shard as a list of
 * steps, ordered by round. Ordinary users here; the planted ones in plan-planted.ts.
 *
 * Assumed mix of final memberships: 66 % join, 28 % leave, 4 % ban, 2 % invite; earlier steps heavy-tailed.
 */

import type { Tampering } from '../events/build-event.js';
import { isRoundOpen } from '../events/build-spine.js';
import type { Expectation } from '../manifest.js';
import type { Random } from './random.js';
import { ADMINS, SPINE_ROUNDS } from './room-shape.js';

/** Who sends a step's event. */
export type Sender =
  /** The user. */
  | 'self'
  /** The administrator of the round. */
  | 'admin'
  /** An ordinary user who is joined. */
  | 'member'
  /** Somebody who never was in the room. */
  | 'stranger'
  /** A user of a server without keys, who says to be joined. */
  | 'dead-member';

export interface Step {
  readonly membership: 'join' | 'leave' | 'invite' | 'ban';
  readonly sender: Sender;
  readonly tampering?: Tampering;
  /** Only for planted events. */
  readonly expected?: Expectation;
  /** `forge`: the step is an m.room.power_levels event of the user. `believe`: it names that event as auth event. */
  readonly powerLevels?: 'forge' | 'believe';
}

/** A user's whole history; the last step's event is in the state. */
export interface UserPlan {
  /** Undefined: any living server. */
  readonly server: string | undefined;
  readonly planted: boolean;
  readonly steps: readonly Step[];
  /** First and last round in which steps may be. */
  readonly rounds: readonly [first: number, last: number];
}

/** All administrators are there from this round on. */
export const FIRST_ROUND = ADMINS;
export const ALL_ROUNDS: readonly [number, number] = [FIRST_ROUND, SPINE_ROUNDS];

const FINAL_SHARES: readonly (readonly [Step['membership'], number])[] = [
  ['join', 0.66],
  ['leave', 0.28],
  ['ban', 0.04],
  ['invite', 0.02],
];

export function finalMembership(random: Random): Step['membership'] {
  let left = random.next();
  for (const [membership, part] of FINAL_SHARES) {
    left -= part;
    if (left < 0) return membership;
  }
  return 'join';
}

/**
 * Deals `total` earlier steps to users: one to each who ends by leaving, none to who ends invited, the rest heavy-tailed.
 * Throws RangeError when there are too few.
 */
export function dealSteps(random: Random, finals: readonly Step['membership'][], total: number): Uint32Array {
  const counts = new Uint32Array(finals.length);
  let left = total;
  for (const [i, final] of finals.entries()) {
    if (final !== 'leave') continue;
    counts[i] = 1;
    left -= 1;
  }
  if (left < 0) throw new RangeError(`${total} earlier events are too few for ${finals.length} users`);
  // Pareto with exponent 2: most users never changed anything, some did so dozens of times.
  const weights = finals.map((final) => (final === 'invite' ? 0 : Math.min(20, (1 - random.next()) ** -0.5 - 1)));
  const sum = weights.reduce((all, weight) => all + weight, 0);
  let dealt = 0;
  let owed = 0;
  for (let i = 0; i < counts.length; i++) {
    owed += ((weights[i] as number) / sum) * left;
    const more = Math.min(left - dealt, Math.floor(owed) - dealt);
    counts[i] = (counts[i] as number) + more;
    dealt += more;
  }
  // What rounding left over goes to somebody who may have it.
  const heir = finals.findIndex((final) => final !== 'invite');
  counts[heir] = (counts[heir] as number) + left - dealt;
  return counts;
}

const JOIN: Step = { membership: 'join', sender: 'self' };
const LEAVE: Step = { membership: 'leave', sender: 'self' };
const KICK: Step = { membership: 'leave', sender: 'admin' };
const BAN: Step = { membership: 'ban', sender: 'admin' };
const UNBAN: Step = { membership: 'leave', sender: 'admin' };
const INVITE: Step = { membership: 'invite', sender: 'member' };

type Standing = 'none' | Step['membership'];

/** What may follow a membership, likely steps several times. */
const FOLLOWING: Readonly<Record<Standing, readonly Step[]>> = {
  none: [JOIN, JOIN, JOIN, JOIN, JOIN, JOIN, JOIN, INVITE],
  join: [JOIN, JOIN, JOIN, JOIN, JOIN, JOIN, JOIN, LEAVE, LEAVE, KICK, BAN],
  invite: [JOIN, JOIN, JOIN, LEAVE],
  leave: [JOIN, JOIN, JOIN, JOIN, JOIN, JOIN, JOIN, INVITE, BAN],
  ban: [UNBAN],
};

/** Memberships from which a final one can be reached in one step. */
const BEFORE_FINAL: Readonly<Record<Step['membership'], readonly Standing[]>> = {
  join: ['none', 'join', 'invite', 'leave'],
  leave: ['join', 'invite', 'ban'],
  ban: ['none', 'join', 'invite', 'leave'],
  invite: ['none', 'leave'],
};

/** A history of `earlier` steps and one that ends in `final`. */
export function planHistory(random: Random, final: Step['membership'], earlier: number): Step[] {
  const steps: Step[] = [];
  let standing: Standing = 'none';
  for (let i = 0; i < earlier; i++) {
    let step: Step = random.pick(FOLLOWING[standing]);
    if (i === earlier - 1 && !BEFORE_FINAL[final].includes(step.membership)) step = lastEarlierStep(standing, final);
    steps.push(step);
    standing = step.membership;
  }
  steps.push(finalStep(random, standing, final));
  return steps;
}

function lastEarlierStep(standing: Standing, final: Step['membership']): Step {
  // Banned users who end by leaving were banned twice over; everybody else joins, or is unbanned, before the end.
  if (standing === 'ban') return final === 'leave' ? BAN : UNBAN;
  return JOIN;
}

function finalStep(random: Random, standing: Standing, final: Step['membership']): Step {
  if (final === 'join') return JOIN;
  if (final === 'ban') return BAN;
  if (final === 'invite') return INVITE;
  if (standing === 'ban') return UNBAN;
  return standing === 'join' && random.chance(0.15) ? KICK : LEAVE;
}

/** A step of a user in a round. */
export interface TimedStep {
  readonly round: number;
  readonly user: number;
  readonly step: Step;
  /** The user's last: its event is in the state. */
  readonly final: boolean;
}

/** Gives each step a round: ascending for each user, and an open one where somebody joins uninvited. */
export function timeSteps(random: Random, user: number, plan: UserPlan): TimedStep[] {
  const [first, last] = plan.rounds;
  const rounds = plan.steps.map(() => first + random.below(last - first + 1)).sort((a, b) => a - b);
  let standing: Standing = 'none';
  let earliest = first;
  return plan.steps.map((step, i) => {
    let round = Math.max(rounds[i] as number, earliest);
    const uninvited =
      step.membership === 'join' && (step.sender !== 'self' || standing === 'none' || standing === 'leave');
    while ((uninvited || plan.planted) && !isRoundOpen(round)) round += 1;
    earliest = round;
    standing = step.membership;
    return { round, user, step, final: i === plan.steps.length - 1 };
  });
}
