/**
 * One shard of the rehearsal room: its users' histories played in order of time. Every event refers to the spine or to
 * earlier events of its own shard, so shards can be built on any thread; the result depends on the recipe alone.
 */

import type { JsonObject } from '../../../../src/kernel/matrix/json.js';
import type { PlantedEvent } from '../manifest.js';
import { avatarUrl, displayName, localpart, zipfServers } from '../plan/names.js';
import {
  ALL_ROUNDS,
  dealSteps,
  finalMembership,
  planHistory,
  type Step,
  type TimedStep,
  timeSteps,
  type UserPlan,
} from '../plan/plan-histories.js';
import { plantedGroup } from '../plan/plan-planted.js';
import { type Random, randomOf } from '../plan/random.js';
import { RESIDENT, type RoomShape, type ShardShape, shardShape } from '../plan/room-shape.js';
import { type BuiltEvent, buildEvent, type EventPlan, type EventRef } from './build-event.js';
import { roundTs, SHARD_DELAY_MS, type Spine } from './build-spine.js';
import { type EventPack, EventPacker } from './event-pack.js';

/** The resident's own users, the first of shard 0: joined, never anything else. */
export const RESIDENT_USERS: readonly string[] = [`@alice:${RESIDENT}`, `@bob:${RESIDENT}`];
const RESIDENT_PLAN: UserPlan = {
  server: RESIDENT,
  planted: false,
  steps: [{ membership: 'join', sender: 'self' }],
  rounds: ALL_ROUNDS,
};

/** Time between two events of a shard's round, in milliseconds: 1,000,000 events fit into a round. */
const EVENT_MS = 50;

export interface BuiltShard {
  readonly index: number;
  readonly pack: EventPack;
  /** User IDs in order of the NIDs of their state events. */
  readonly userIds: readonly string[];
  /** Membership that each user has in the resident's state, in the same order. */
  readonly memberships: readonly Step['membership'][];
  readonly planted: readonly PlantedEvent[];
  /** The newest event: one of P's prev_events. */
  readonly head: EventRef;
}

interface User {
  readonly id: string;
  readonly plan: UserPlan;
  member: EventRef | undefined;
  membership: Step['membership'] | 'none';
  forgedPowerLevels: EventRef | undefined;
}

/** Users who can be picked as senders; taking one out is cheap. */
class Pickable {
  readonly #users: number[] = [];
  readonly #places = new Map<number, number>();

  set(user: number, present: boolean): void {
    const place = this.#places.get(user);
    if (present === (place !== undefined)) return;
    if (place === undefined) {
      this.#places.set(user, this.#users.length);
      this.#users.push(user);
      return;
    }
    const last = this.#users.pop() as number;
    this.#places.delete(user);
    if (last === user) return;
    this.#users[place] = last;
    this.#places.set(last, place);
  }

  pick(random: Random): number | undefined {
    return this.#users.length === 0 ? undefined : random.pick(this.#users);
  }
}

/** Builds the shard with this index. */
export function buildShard(shape: RoomShape, spine: Spine, index: number): BuiltShard {
  return new ShardBuild(shape, spine, shardShape(shape, index)).run();
}

class ShardBuild {
  readonly #shape: RoomShape;
  readonly #spine: Spine;
  readonly #shard: ShardShape;
  readonly #random: Random;
  readonly #users: User[];
  readonly #indexById: Map<string, number>;
  readonly #joined = new Pickable();
  readonly #dead = new Pickable();
  readonly #packer = new EventPacker();
  readonly #planted: PlantedEvent[] = [];
  #nextChainNid: number;
  #head: EventRef | undefined;

  constructor(shape: RoomShape, spine: Spine, shard: ShardShape) {
    this.#shape = shape;
    this.#spine = spine;
    this.#shard = shard;
    this.#random = randomOf(shape.seed, `shard ${shard.index}`);
    this.#nextChainNid = shard.firstChainNid;
    this.#users = this.#makeUsers();
    this.#indexById = new Map(this.#users.map((user, i) => [user.id, i]));
  }

  run(): BuiltShard {
    const steps = this.#users.flatMap((user, i) => timeSteps(this.#random, i, user.plan));
    steps.sort((a, b) => a.round - b.round || a.user - b.user);
    let round = -1;
    let inRound = 0;
    for (const step of steps) {
      inRound = step.round === round ? inRound + 1 : 0;
      round = step.round;
      this.#play(step, inRound);
    }
    if (this.#head === undefined) throw new Error(`shard ${this.#shard.index} has no users`);
    if (this.#nextChainNid !== this.#shard.firstChainNid + this.#shard.chainEvents) {
      throw new Error(`shard ${this.#shard.index} has another number of events than planned`);
    }
    return {
      index: this.#shard.index,
      pack: this.#packer.pack(),
      userIds: this.#users.map((user) => user.id),
      memberships: this.#users.map((user) => user.membership as Step['membership']),
      planted: this.#planted,
      head: this.#head,
    };
  }

  #makeUsers(): User[] {
    const shape = this.#shape;
    const random = this.#random;
    const { index, users, chainEvents, plantedGroups } = this.#shard;
    const special: UserPlan[] = index === 0 ? RESIDENT_USERS.map(() => RESIDENT_PLAN) : [];
    for (let group = 0; group < plantedGroups; group++) special.push(...plantedGroup(random.pick(shape.deadServers)));
    const earlierOfSpecial = special.reduce((sum, plan) => sum + plan.steps.length - 1, 0);
    const finals = Array.from({ length: users - special.length }, () => finalMembership(random));
    const earlier = dealSteps(random, finals, chainEvents - earlierOfSpecial);
    const plans: UserPlan[] = [
      ...special,
      ...finals.map((final, i) => ({
        server: undefined,
        planted: false,
        steps: planHistory(random, final, earlier[i] as number),
        rounds: ALL_ROUNDS,
      })),
    ];
    const pickServer = zipfServers(shape.servers);
    return plans.map((plan, i) => {
      const fixed = index === 0 ? RESIDENT_USERS[i] : undefined;
      const id = fixed ?? `@${localpart(random, index, i)}:${plan.server ?? pickServer(random)}`;
      return { id, plan, member: undefined, membership: 'none', forgedPowerLevels: undefined };
    });
  }

  #play(timed: TimedStep, inRound: number): void {
    const { step, round } = timed;
    const user = this.#users[timed.user] as User;
    const sender = this.#senderOf(step, round, user);
    const forge = step.powerLevels === 'forge';
    const nid = timed.final ? this.#shard.firstStateNid + timed.user : this.#nextChainNid++;
    const plan: EventPlan = {
      nid,
      type: forge ? 'm.room.power_levels' : 'm.room.member',
      stateKey: forge ? '' : user.id,
      sender,
      content: forge ? forgedPowerLevels(user.id) : this.#contentOf(step, user),
      originServerTs: roundTs(round) + SHARD_DELAY_MS + inRound * EVENT_MS + this.#random.below(EVENT_MS),
      prevs: this.#prevs(round),
      tampering: step.tampering,
    };
    const event = buildEvent(this.#spine.builder, plan, (type, key) => this.#lookUp(type, key, round, step, user));
    this.#packer.add(event);
    const ref: EventRef = { id: event.id, nid, depth: event.depth };
    this.#head = ref;
    this.#note(step, plan, event, timed.final);
    if (forge) user.forgedPowerLevels = ref;
    else this.#moveUser(timed.user, user, step, ref);
  }

  #moveUser(index: number, user: User, step: Step, ref: EventRef): void {
    user.member = ref;
    user.membership = step.membership;
    const isDead = step.expected?.code === 'no-key' && step.sender === 'self';
    if (isDead) this.#dead.set(index, true);
    if (!user.plan.planted) this.#joined.set(index, step.membership === 'join');
  }

  #note(step: Step, plan: EventPlan, event: BuiltEvent, final: boolean): void {
    if (step.expected === undefined) return;
    this.#planted.push({
      ...step.expected,
      event_id: event.id,
      type: plan.type,
      state_key: plan.stateKey ?? '',
      in_state: final,
      nid: event.nid,
    });
  }

  #senderOf(step: Step, round: number, user: User): string {
    if (step.sender === 'self') return user.id;
    if (step.sender === 'stranger') return `@stranger.of.${user.id.slice(1)}`;
    const from = step.sender === 'dead-member' ? this.#dead : this.#joined;
    const other = step.sender === 'admin' ? undefined : from.pick(this.#random);
    if (other !== undefined) return (this.#users[other] as User).id;
    // An administrator invites while nobody else is there; what needs an ordinary user must find one.
    if (step.expected !== undefined) throw new Error(`no ${step.sender} in shard ${this.#shard.index} yet`);
    return this.#spine.adminIds[round % this.#spine.adminIds.length] as string;
  }

  /** The shard's newest event, and the spine's of this round where the shard has not seen that yet. */
  #prevs(round: number): EventRef[] {
    const spineHead = (this.#spine.rounds[round] as Spine['rounds'][number]).joinRules;
    if (this.#head === undefined) return [spineHead];
    return this.#random.chance(0.5) ? [this.#head, spineHead] : [this.#head];
  }

  #lookUp(type: string, stateKey: string, round: number, step: Step, user: User): EventRef | undefined {
    if (type === 'm.room.create') return this.#spine.create;
    const { powerLevels, joinRules, admins } = this.#spine.rounds[round] as Spine['rounds'][number];
    if (type === 'm.room.power_levels') return step.powerLevels === 'believe' ? user.forgedPowerLevels : powerLevels;
    if (type === 'm.room.join_rules') return joinRules;
    const index = this.#indexById.get(stateKey);
    return index === undefined ? admins[this.#spine.adminIds.indexOf(stateKey)] : this.#users[index]?.member;
  }

  #contentOf(step: Step, user: User): JsonObject {
    const random = this.#random;
    if (step.membership === 'leave' || step.membership === 'ban') {
      if (step.sender !== 'admin') return { membership: step.membership };
      return { membership: step.membership, reason: `Code of conduct, section ${1 + random.below(9)}` };
    }
    const displayname = displayName(random);
    if (random.chance(0.08)) return { displayname, membership: step.membership };
    const server = user.id.slice(user.id.indexOf(':') + 1);
    return { avatar_url: avatarUrl(random, server), displayname, membership: step.membership };
  }
}

/** Power for everybody, said by somebody who has none. */
function forgedPowerLevels(userId: string): JsonObject {
  return { ban: 0, invite: 0, kick: 0, state_default: 0, users: { [userId]: 100 }, users_default: 0 };
}
