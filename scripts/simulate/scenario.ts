/**
 * What happens in a simulated federation, all of it drawn from one seed: a room grows, a server joins it with partial state,
 * people go on talking, leaving, kicking and banning, puppets push what they should not, the network fails, servers crash.
 */

import type { EventId, ServerName, UserId } from '../../src/kernel/matrix/ids.js';
import { serverNameOf } from '../../src/kernel/matrix/ids.js';
import type { JsonObject } from '../../src/kernel/matrix/json.js';
import { MatrixError } from '../../src/kernel/matrix/matrix-error.js';
import { RemoteError } from '../../src/remote/remote-error.js';
import { eventIdOfNid } from '../../src/store/events.js';
import { DiskError } from '../../src/store/folder/store-error.js';
import type { Random } from '../hq/room/plan/random.js';
import { drawRates } from './faults.js';
import type { Federation, Intent } from './federation.js';
import { ALICE, BEA, BOB, HS1, HS2, HS3, MINUTE_MS, MOD, PUPPETS } from './federation.js';
import type { FederationServer } from './federation-server.js';
import { onDeath } from './network.js';
import type { CrashPlan } from './store/crashing-store.js';
import { Crash } from './store/crashing-store.js';

const HS1_USERS = [ALICE, MOD, '@ann:hs1', '@abe:hs1'];
const HS3_USERS = ['@carol:hs3', '@dave:hs3'];
const PUPPET_USERS = ['@u1:p1', '@u2:p1', '@u3:p2', '@u4:p2'];
const EVERYBODY = [...HS1_USERS, ...HS3_USERS, ...PUPPET_USERS, BOB];
/** How long the room is alive while things go wrong. */
const STORY_MS = 10 * MINUTE_MS;
/** A user whose join failed tries again after this time at most, in milliseconds. */
const JOIN_AGAIN_MS_MAX = MINUTE_MS;
/** Crashes of one server in one run. */
const CRASHES_MAX = 3;
/** How often the next life of the joining server ends by a crash, and that of a resident. */
const CRASH_SHARE = 0.6;
const RESIDENT_CRASH_SHARE = 0.3;
/** Store writes until then, at most. Residents write more: everything that is sent, and what they are asked for. */
const CRASH_WRITES = [10, 40, 120];
const RESIDENT_CRASH_WRITES = [20, 80, 250];

/** How servers crash, where it is not left to the seed. */
export interface CrashOptions {
  /** The joining server crashes at this write of its first life. */
  readonly plan?: CrashPlan | undefined;
  /** No other crashes. */
  readonly only?: boolean | undefined;
}

export class Scenario {
  readonly #federation: Federation;
  readonly #crashes: CrashOptions;
  /** Events that users were told are sent, with the server that told them. */
  readonly answered: (readonly [FederationServer, EventId])[] = [];
  /** Crashes of each server. */
  readonly crashed = new Map<FederationServer, number>();
  readonly #residentsRandom: Random;
  #isOver = false;
  #txn = 0;
  /** The newest event that was pushed by each puppet to each server. */
  readonly #pushed = new Map<string, number>();
  /** An event after which all puppets were in the room. */
  #whenIn: readonly EventId[] = [];
  /** A server that has left, and does not come back. */
  #left: FederationServer | undefined;
  /** Puppets' users that were in the room and are not any more when the join comes. */
  readonly #gone: string[] = [];

  constructor(federation: Federation, crashes: CrashOptions) {
    this.#federation = federation;
    this.#crashes = crashes;
    this.#residentsRandom = federation.randomFor('crashes of residents');
  }

  /** The room before the join; nothing goes wrong yet. */
  async prepare(): Promise<void> {
    const f = this.#federation;
    const { random, hs1, hs3 } = f;
    hs1.start();
    hs3.start();
    await f.settle(() => this.#in(hs1, () => f.createRoom()));
    const send = (sender: string, type: string, stateKey: string, content: JsonObject) =>
      f.settle(() => this.#in(hs1, () => hs1.send(f.roomId, sender, type, stateKey, content)));
    for (const user of HS1_USERS.slice(1)) await send(user, 'm.room.member', user, { membership: 'join' });
    // A room with a name has no heroes: members come with the resynchronisation only.
    if (random.chance(0.7)) await send(ALICE, 'm.room.name', '', { name: 'Room' });
    for (const user of HS3_USERS) await f.settle(() => this.join(hs3, user as UserId, [HS1]));
    for (const user of PUPPET_USERS) if (random.chance(0.8)) await this.#puppetJoins(user);
    this.#whenIn = f.newest(1);
    // Who has left and goes on talking as if not is believed as long as the members are not known.
    for (const user of PUPPET_USERS) {
      if (!random.chance(0.4)) continue;
      const membership = random.pick(['leave', 'ban']);
      await f.settle(() => this.quietly(() => this.memberSend(hs1, ALICE, user, membership)));
      this.#gone.push(user);
    }
    const facts = random.chance(0.2) ? 60 : random.below(6);
    for (let n = 0; n < facts; n++) await send(ALICE, 'org.example.fact', `${n}`, { n });
    for (let n = random.below(8); n > 0; n--) await f.settle(() => this.quietly(() => this.#residentActs()));
    await f.pass(MINUTE_MS);
  }

  /** The join, and what happens around it. */
  async play(): Promise<void> {
    const f = this.#federation;
    const { random, time, hs1, hs2, hs3, network } = f;
    network.rates = drawRates(random, f.randomFor('forger'));
    if (random.chance(0.8)) network.stateFromTs = time.now() + random.below(STORY_MS);
    for (const server of [hs1, hs2, hs3]) {
      const full = server.disk.draw(STORY_MS);
      if (full !== undefined) f.note(`${server.name}: ${full}`);
    }
    for (const server of [hs1, hs2, hs3]) server.onCrashed = () => this.#restartLater(server);
    hs2.start(this.#crashes.plan ?? this.#nextPlan(hs2));
    for (const resident of [hs1, hs3]) resident.planCrash(this.#nextPlan(resident));
    const at = (ms: number, act: () => Promise<unknown>) => time.schedule(ms, () => void this.quietly(act));
    at(random.below(MINUTE_MS), () => this.#keepJoining(BOB));
    for (let n = 5 + random.below(30); n > 0; n--) at(random.below(STORY_MS), () => this.#residentActs());
    for (let n = random.below(20); n > 0; n--) at(random.below(STORY_MS), () => this.#puppetActs());
    // What they say is believed until the members are known, and then it turns out to be wrong.
    for (let n = this.#gone.length * random.below(4); n > 0; n--)
      at(random.below(STORY_MS / 2), () => this.#puppetActs(random.pick(this.#gone)));
    for (let n = random.below(12); n > 0; n--) at(random.below(STORY_MS), () => this.#joinerActs());
    if (random.chance(0.3)) at(random.below(STORY_MS), () => this.#keepJoining(BEA));
    if (random.chance(0.15)) at(random.below(STORY_MS), () => this.#leaves(hs2, BOB));
    if (random.chance(0.2)) at(random.below(STORY_MS), () => this.#hs3Leaves());
    if (random.chance(0.15)) at(random.below(STORY_MS), async () => this.#down(hs1, random.below(STORY_MS)));
    if (random.chance(0.2)) at(random.below(STORY_MS), async () => this.#down(hs3, random.below(2 * STORY_MS)));
    await f.pass(STORY_MS + MINUTE_MS);
  }

  /** From here on no server crashes, but for the joining one at the end of a life that has begun. */
  endCrashes(): void {
    const { hs1, hs3 } = this.#federation;
    this.#isOver = true;
    for (const resident of [hs1, hs3]) resident.planCrash(undefined);
  }

  #in<T>(server: FederationServer, act: () => Promise<T>): Promise<T> {
    const { life } = server;
    if (life === undefined) return Promise.reject(new Crash(`${server.name} is down`));
    const acting = this.#federation.time.within(life, act);
    // Who crashes never answers: whoever waits for it goes on without.
    return new Promise((resolve, reject) => {
      onDeath(life, () => reject(new Crash(`${server.name} went down`)));
      acting.then(resolve, reject);
    });
  }

  /** Refusals and crashes belong to the story; anything else is a bug. */
  async quietly(act: () => Promise<unknown>): Promise<void> {
    try {
      await act();
    } catch (error) {
      if ([MatrixError, Crash, RemoteError, DiskError].some((kind) => error instanceof kind)) {
        this.#federation.note(`refused: ${(error as Error).message.slice(0, 160)}`);
        return;
      }
      this.#federation.bugs.push(error instanceof Error ? (error.stack ?? error.message) : String(error));
    }
  }

  #nextPlan(server: FederationServer): CrashPlan | undefined {
    const { hs2 } = this.#federation;
    const isJoiner = server === hs2;
    const random = isJoiner ? this.#federation.random : this.#residentsRandom;
    const crashes = this.crashed.get(server) ?? 0;
    const isSpared = this.#crashes.only === true || this.#isOver || crashes >= CRASHES_MAX;
    if (isSpared || !random.chance(isJoiner ? CRASH_SHARE : RESIDENT_CRASH_SHARE)) return undefined;
    return {
      atWrite: 1 + random.below(random.pick(isJoiner ? CRASH_WRITES : RESIDENT_CRASH_WRITES)),
      when: random.chance(0.5) ? 'before-commit' : 'after-commit',
      losesBackground: random.chance(0.5),
    };
  }

  #restartLater(server: FederationServer): void {
    const { time, hs2, random } = this.#federation;
    this.crashed.set(server, (this.crashed.get(server) ?? 0) + 1);
    this.#federation.count(server === hs2 ? 'joiner-crash' : 'resident-crash');
    time.schedule((server === hs2 ? random : this.#residentsRandom).below(MINUTE_MS), () => {
      if (server.life !== undefined || server === this.#left) return;
      this.#federation.note(`${server.name} starts again`);
      // While it starts a process may die as well, but then at its first write: that is its last life but one.
      server.start(this.#nextPlan(server));
    });
  }

  #down(server: FederationServer, ms: number): void {
    if (server.life === undefined) return;
    this.#federation.note(`${server.name} is stopped`);
    server.stop();
    this.#federation.time.schedule(ms, () => {
      if (server.life === undefined) server.start();
    });
  }

  join(server: FederationServer, userId: UserId, candidates: ServerName[]): Promise<void> {
    const { roomId } = this.#federation;
    return this.#in(server, () =>
      server.join({ roomId, userId, candidates, profile: {}, partial: server.name === HS2 }),
    );
  }

  async #keepJoining(userId: UserId): Promise<void> {
    const { hs2, random, time } = this.#federation;
    const until = time.now() + STORY_MS;
    while (time.now() < until) {
      try {
        await this.join(hs2, userId, random.chance(0.5) ? [HS1, HS3] : [HS3, HS1]);
        this.#federation.note(`${userId} is in the room`);
        return;
      } catch (error) {
        // Who may not come in asks to be let in.
        if (error instanceof MatrixError && error.status === 403)
          for (const membership of ['leave', 'invite'])
            await this.quietly(() => this.memberSend(this.#federation.hs1, ALICE, userId, membership));
        if (![MatrixError, Crash, DiskError].some((kind) => error instanceof kind)) throw error;
        this.#federation.note(`join: ${(error as Error).message.slice(0, 200)}`);
      }
      await time.sleep(random.below(JOIN_AGAIN_MS_MAX));
    }
  }

  /** A user sends an event; who is told that it is sent may rely on it, whatever crashes then. */
  async #send(
    server: FederationServer,
    sender: string,
    type: string,
    stateKey: string | undefined,
    content: JsonObject,
  ): Promise<EventId> {
    const { roomId } = this.#federation;
    const sent = await this.#in(server, () => server.send(roomId, sender, type, stateKey, content));
    this.answered.push([server, sent]);
    return sent;
  }

  say(server: FederationServer, sender: string): Promise<EventId> {
    const content = { msgtype: 'm.text', body: `${this.#federation.random.below(2 ** 30)}` };
    return this.#send(server, sender, 'm.room.message', undefined, content);
  }

  memberSend(server: FederationServer, sender: string, target: string, membership: string): Promise<EventId> {
    return this.#send(server, sender, 'm.room.member', target, { membership });
  }

  #leaves(server: FederationServer, user: string): Promise<EventId> {
    return this.memberSend(server, user, user, 'leave');
  }

  async #hs3Leaves(): Promise<void> {
    const { hs3, time } = this.#federation;
    for (const user of HS3_USERS) await this.quietly(() => this.#leaves(hs3, user));
    await time.sleep(MINUTE_MS);
    this.#federation.note('hs3 is gone');
    this.#left = hs3;
    this.#federation.count('server-left');
    hs3.stop();
  }

  /** One thing that somebody on a resident does. */
  async #residentActs(): Promise<void> {
    const { random, hs1, hs3, rules } = this.#federation;
    const onHs3 = random.chance(0.3);
    const server = onHs3 ? hs3 : hs1;
    const actor = onHs3 ? random.pick(HS3_USERS) : random.pick([ALICE, ALICE, ...HS1_USERS]);
    const target = random.chance(0.95) ? random.pick(EVERYBODY.slice(1)) : BOB;
    const state = (type: string, content: JsonObject) => this.#send(server, actor, type, '', content);
    const dice = random.next();
    if (dice < 0.3) await this.say(server, actor);
    else if (dice < 0.4) await state('m.room.topic', { topic: `${random.below(1000)}` });
    else if (dice < 0.5) await this.memberSend(server, actor, actor, random.pick(['join', 'leave', 'join']));
    else if (dice < 0.6) await this.memberSend(server, actor, target, 'leave');
    else if (dice < 0.67) await this.memberSend(server, actor, target, 'ban');
    else if (dice < 0.72) await this.memberSend(server, actor, target, 'invite');
    else if (dice < 0.82) {
      const some = [MOD, ...PUPPET_USERS, ...HS3_USERS, BOB].filter(() => random.chance(0.3));
      const users = Object.fromEntries(some.map((user) => [user, random.pick([0, 50, 50, 99])]));
      await state('m.room.power_levels', this.#federation.levels(users));
    } else if (dice < 0.87)
      await state('m.room.join_rules', { join_rule: random.pick(['public', 'public', 'invite']) });
    else if (rules.redactsInContent) {
      const redacts = random.pick(this.#federation.newest(15));
      await this.#send(server, actor, 'm.room.redaction', undefined, { redacts });
    }
  }

  async #joinerActs(): Promise<void> {
    const { random, hs2 } = this.#federation;
    const actor = random.pick([BOB, BOB, BEA]);
    const dice = random.next();
    if (dice < 0.6) await this.say(hs2, actor);
    else if (dice < 0.8) await this.#send(hs2, actor, 'm.room.topic', '', { topic: `from hs2 ${random.below(1000)}` });
    else await this.memberSend(hs2, actor, random.pick(EVERYBODY.slice(1)), random.pick(['leave', 'ban']));
  }

  async #puppetJoins(user: string): Promise<void> {
    const f = this.#federation;
    const intent = { sender: user, type: 'm.room.member', stateKey: user, content: { membership: 'join' } };
    const extremities = this.#extremities();
    const id = await f.settle(() => this.#in(f.hs1, () => f.craft(intent, extremities)));
    const bytes = Buffer.from(JSON.stringify(f.crafted.get(id)));
    for (const server of [f.hs1, f.hs3])
      await f.settle(() => this.#in(server, () => server.receive(serverNameOf(user as UserId), f.roomId, [bytes])));
  }

  #extremities(): EventId[] {
    const { hs1, roomId } = this.#federation;
    return (hs1.loadRoom(roomId)?.extremities ?? []).map((nid) => eventIdOfNid(hs1.store, nid)).slice(-10);
  }

  /** A puppet makes an event up and pushes it to some. `gone`: a user who acts as if still in the room. */
  async #puppetActs(gone?: string): Promise<void> {
    const f = this.#federation;
    const { random, hs1 } = f;
    if (hs1.life === undefined) return;
    const sender = gone ?? random.pick(PUPPET_USERS);
    const prevs =
      gone !== undefined || random.chance(0.6)
        ? this.#extremities()
        : [...new Set(Array.from({ length: 1 + random.below(3) }, () => random.pick(f.newest(12))))];
    // Auth events of long ago: of when a user was still in the room, or still had power.
    const authAt =
      gone !== undefined || random.chance(0.6)
        ? random.pick([...this.#whenIn, ...this.#whenIn, ...(gone === undefined ? f.newest(3) : [])])
        : undefined;
    const id = await this.#in(hs1, () => f.craft(this.#puppetIntent(sender), prevs, authAt));
    const json = { ...(f.crafted.get(id) as JsonObject) };
    if (random.chance(0.05)) {
      json.signatures = { [serverNameOf(sender as UserId)]: { 'ed25519:k': 'A'.repeat(86) } };
      f.count('forged-by-puppet');
    }
    f.note(`${sender} makes ${id.slice(0, 8)} ${json.type}`);
    const origin = serverNameOf(sender as UserId);
    const nth = f.crafted.size;
    for (const to of [HS1, HS3, HS2]) {
      if (random.chance(0.3)) continue;
      const delayMs = random.below(random.pick([1000, MINUTE_MS, 5 * MINUTE_MS]));
      f.time.outside(() => f.time.schedule(delayMs, () => void this.quietly(() => this.#push(origin, to, json, nth))));
    }
  }

  /** `nth`: place of the event among those that puppets made. */
  async #push(origin: ServerName, to: ServerName, pdu: JsonObject, nth: number): Promise<void> {
    const { network, time } = this.#federation;
    this.#txn += 1;
    const newest = this.#pushed.get(`${origin} ${to}`) ?? 0;
    if (nth < newest) this.#federation.count('reorder');
    this.#pushed.set(`${origin} ${to}`, Math.max(nth, newest));
    await network.clientOf(origin).requestJson(to, {
      method: 'PUT',
      path: `/_matrix/federation/v1/send/t${this.#txn}`,
      content: { origin, origin_server_ts: time.now(), pdus: [pdu] },
    });
  }

  #puppetIntent(sender: string): Intent {
    const { random, rules } = this.#federation;
    const member = (stateKey: string, membership: string): Intent => ({
      sender,
      type: 'm.room.member',
      stateKey,
      content: { membership },
    });
    const dice = random.next();
    if (dice < 0.25) return { sender, type: 'm.room.message', stateKey: undefined, content: { body: `${dice}` } };
    if (dice < 0.45) return member(sender, random.pick(['join', 'leave', 'join']));
    if (dice < 0.65) return member(random.pick(EVERYBODY.slice(1)), random.pick(['leave', 'ban']));
    if (dice < 0.75) return { sender, type: 'm.room.topic', stateKey: '', content: { topic: `puppet ${dice}` } };
    if (dice < 0.85) {
      const users = { [sender]: 50, [random.pick(PUPPET_USERS)]: 50 };
      const content = this.#federation.levels(users);
      return { sender, type: 'm.room.power_levels', stateKey: '', content };
    }
    if (dice < 0.9 || !rules.redactsInContent)
      return { sender, type: 'm.room.join_rules', stateKey: '', content: { join_rule: 'invite' } };
    const redacts = random.pick(this.#federation.newest(15));
    return { sender, type: 'm.room.redaction', stateKey: undefined, content: { redacts } };
  }
}

/** Servers that puppets speak for. */
export const PUPPET_SERVERS = PUPPETS;
