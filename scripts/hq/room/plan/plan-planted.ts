/**
 * The planted users: what a joining server must not believe, although the resident does. One group has one user of each
 * kind; each kind's history is written out here with what must become of its events.
 *
 * A code is the product's word for a refusal, so this list is also a check of those words. An event that rests on a
 * planted one is allowed by the contents of its auth events, so that there is one reason only to refuse it.
 */

import type { Expectation } from '../manifest.js';
import { ALL_ROUNDS, FIRST_ROUND, type Step, type UserPlan } from './plan-histories.js';
import { SPINE_ROUNDS } from './room-shape.js';

const NO_KEY: Expectation = { verdict: 'dropped', code: 'no-key' };
const BAD_SIGNATURE: Expectation = { verdict: 'dropped', code: 'bad-signature' };
const MISSING: Expectation = { verdict: 'dropped', code: 'auth-event-missing' };
const REDACTED: Expectation = { verdict: 'redacted', code: 'content-hash-mismatch' };
const RESTS_ON_REJECTED: Expectation = { verdict: 'rejected', code: 'auth-event-rejected' };

function rejected(code: string): Expectation {
  return { verdict: 'rejected', code };
}

const JOIN: Step = { membership: 'join', sender: 'self' };
const UNSIGNED_JOIN: Step = { ...JOIN, tampering: 'signature', expected: BAD_SIGNATURE };
const ON_MISSING: Step = { ...JOIN, expected: MISSING };

/** Living or keyless server, and the steps; the last is in the state. */
interface Kind {
  readonly dead?: true;
  /** After half of the rounds: it needs others who are there already. */
  readonly late?: true;
  readonly steps: readonly Step[];
}

const KINDS: readonly Kind[] = [
  // Servers whose keys cannot be had
  { dead: true, steps: [{ ...JOIN, expected: NO_KEY }] },
  {
    dead: true,
    steps: [
      { ...JOIN, expected: NO_KEY },
      { ...JOIN, expected: NO_KEY },
    ],
  },
  // Content that is not what was hashed: only the redacted form is believed, and that is still a join
  { steps: [{ ...JOIN, tampering: 'content', expected: REDACTED }] },
  { steps: [{ ...JOIN, tampering: 'content', expected: REDACTED }, JOIN] },
  // Signatures that do not verify, and what rests on them
  { steps: [UNSIGNED_JOIN] },
  { steps: [UNSIGNED_JOIN, ON_MISSING] },
  { steps: [UNSIGNED_JOIN, ON_MISSING, ON_MISSING] },
  // Somebody else's membership set without the power to do so
  {
    late: true,
    steps: [JOIN, { membership: 'leave', sender: 'member', expected: rejected('kick-insufficient-power') }],
  },
  { late: true, steps: [JOIN, { membership: 'ban', sender: 'member', expected: rejected('ban-insufficient-power') }] },
  { late: true, steps: [{ membership: 'join', sender: 'member', expected: rejected('join-sender-not-target') }] },
  // Power levels by an ordinary user, and who believes them
  {
    steps: [
      JOIN,
      { ...JOIN, powerLevels: 'forge', expected: rejected('insufficient-power') },
      { ...JOIN, powerLevels: 'believe', expected: RESTS_ON_REJECTED },
    ],
  },
  // An invitation by a stranger, and the join that rests on it
  {
    steps: [
      { membership: 'invite', sender: 'stranger', expected: rejected('sender-not-joined') },
      { ...JOIN, expected: RESTS_ON_REJECTED },
    ],
  },
  // An invitation by a user of a server without keys, and the join that rests on it
  { late: true, steps: [{ membership: 'invite', sender: 'dead-member', expected: NO_KEY }, ON_MISSING] },
];

const HALF = Math.floor(SPINE_ROUNDS / 2);
const EARLY: readonly [number, number] = [FIRST_ROUND, HALF];
const LATE: readonly [number, number] = [HALF + 2, SPINE_ROUNDS];

/** The users of one group. */
export function plantedGroup(deadServer: string): UserPlan[] {
  return KINDS.map((kind) => ({
    server: kind.dead === true ? deadServer : undefined,
    planted: true,
    steps: kind.steps,
    rounds: kind.dead === true ? EARLY : kind.late === true ? LATE : ALL_ROUNDS,
  }));
}
