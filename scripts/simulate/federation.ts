/**
 * A small federation: two real residents, a real server that will join, and puppets, which are a signing key and events that
 * the simulator makes up for them: on old prev_events, on auth events that no longer hold, forbidden ones.
 */

import { ownKeyResponse } from '../../src/api/federation/serve-keys.js';
import type { EventId, KeyId, RoomId, ServerName, UserId } from '../../src/kernel/matrix/ids.js';
import { serverNameOf } from '../../src/kernel/matrix/ids.js';
import type { JsonObject } from '../../src/kernel/matrix/json.js';
import type { RoomVersionRules } from '../../src/kernel/matrix/room-versions.js';
import { roomVersionRules } from '../../src/kernel/matrix/room-versions.js';
import type { SigningKey } from '../../src/kernel/signatures/ed25519.js';
import { signingKeyOfSeed } from '../../src/kernel/signatures/ed25519.js';
import { hashAndSignPdu } from '../../src/kernel/signatures/sign-pdu.js';
import type { RemoteRequest } from '../../src/remote/federation-client.js';
import { acceptEvent } from '../../src/room/accept-event.js';
import { buildEvent, selectAuthEvents } from '../../src/room/build-event.js';
import { ingestPdus } from '../../src/room/intake/ingest-pdus.js';
import { resolveStoredStates, storedState } from '../../src/room/room-state.js';
import { eventIdOfNid, eventNidOf, loadBody, loadRecord, referencedIds } from '../../src/store/events.js';
import type { EventNid, StateGroupNid } from '../../src/store/nids.js';
import { internRoom, loadRoom, putRoom } from '../../src/store/rooms.js';
import { eventContext } from '../../src/store/timeline.js';
import type { Random } from '../hq/room/plan/random.js';
import { randomOf } from '../hq/room/plan/random.js';
import type { Happening } from './faults.js';
import { FederationServer } from './federation-server.js';
import type { Answered, Host } from './network.js';
import { Network } from './network.js';
import { Disk } from './store/full-disk.js';
import { VirtualTime } from './virtual-time.js';

export const START_TS = 1_700_000_000_000;
export const MINUTE_MS = 60_000;
export const DAY_MS = 24 * 60 * MINUTE_MS;

export const HS1 = 'hs1' as ServerName;
export const HS2 = 'hs2' as ServerName;
export const HS3 = 'hs3' as ServerName;
export const PUPPETS = ['p1', 'p2'] as ServerName[];
export const ALICE = '@alice:hs1' as UserId;
export const MOD = '@mod:hs1' as UserId;
export const BOB = '@bob:hs2' as UserId;
export const BEA = '@bea:hs2' as UserId;

const NAMES = [HS1, HS2, HS3, ...PUPPETS];
/** Room versions of the runs; weights by repetition. */
const VERSIONS = ['11', '11', '11', '12', '10', '6'];
/** Events that a puppet gives for one `get_missing_events`. */
const MISSING_MAX = 20;

export function keyOf(name: ServerName): SigningKey {
  return signingKeyOfSeed(name, 'ed25519:k' as KeyId, Buffer.alloc(32, NAMES.indexOf(name) + 1));
}

/** An event as it is made up. */
export interface Intent {
  readonly sender: string;
  readonly type: string;
  readonly stateKey: string | undefined;
  readonly content: JsonObject;
}

export class Federation {
  readonly time = new VirtualTime(START_TS);
  readonly random: Random;
  readonly #label: string;
  /** What has gone wrong, and how often. */
  readonly happened = new Map<Happening, number>();
  readonly network: Network;
  readonly rules: RoomVersionRules;
  readonly hs1: FederationServer;
  readonly hs2: FederationServer;
  readonly hs3: FederationServer;
  /** What the puppets made up, by event ID. */
  readonly crafted = new Map<EventId, JsonObject>();
  readonly trace: string[] = [];
  readonly bugs: string[] = [];
  readonly #folder: string;
  roomId = '!room:hs1' as RoomId;

  constructor(seed: number, folder: string) {
    const label = String(seed);
    this.#folder = folder;
    this.random = randomOf(label, 'scenario');
    this.#label = label;
    this.rules = roomVersionRules(this.random.pick(VERSIONS)) as RoomVersionRules;
    const count = (what: Happening) => this.count(what);
    this.network = new Network(this.time, randomOf(label, 'network'), (line) => this.note(line), count);
    const server = (name: ServerName, notaries: ServerName[]) =>
      this.newServer(
        name,
        randomOf(label, name),
        notaries,
        new Disk(randomOf(label, `disk of ${name}`), this.time.now),
      );
    this.hs1 = server(HS1, []);
    this.hs2 = server(HS2, this.random.chance(0.5) ? [HS1] : []);
    this.hs3 = server(HS3, []);
    for (const host of [this.hs1, this.hs2, this.hs3]) this.network.hosts.set(host.name, host);
    this.network.keysOf = (name) => {
      const response = ownKeyResponse(keyOf(name), this.time.now());
      return { status: 200, body: Buffer.from(JSON.stringify(response)) };
    };
    for (const name of PUPPETS) this.network.hosts.set(name, this.#puppet(name));
  }

  newServer(name: ServerName, random: Random, notaries: ServerName[], disk: Disk): FederationServer {
    const server = new FederationServer({
      key: keyOf(name),
      folder: this.#folder,
      time: this.time,
      random,
      disk,
      client: this.network.clientOf(name),
      notaries,
      trace: (line) => this.note(line),
      onBug: (what) => this.bugs.push(what),
    });
    server.keyOf = (origin) => (NAMES.includes(origin) ? keyOf(origin) : undefined);
    return server;
  }

  /** Random numbers of one purpose, drawn apart so that they make no other story. */
  randomFor(purpose: string): Random {
    return randomOf(this.#label, purpose);
  }

  count(what: Happening, times = 1): void {
    this.happened.set(what, (this.happened.get(what) ?? 0) + times);
  }

  note(line: string): void {
    this.trace.push(`${((this.time.now() - START_TS) / 1000).toFixed(3)} ${line}`);
  }

  /** Lets time pass until a promise settles. Throws what it rejects with. */
  async settle<T>(start: () => Promise<T>, limitMs = DAY_MS): Promise<T> {
    let outcome: { value: T } | { error: unknown } | undefined;
    start().then(
      (value) => {
        outcome = { value };
      },
      (error: unknown) => {
        outcome = { error };
      },
    );
    await this.time.runUntil(() => outcome !== undefined, this.time.now() + limitMs);
    if (outcome === undefined) throw new Error('something hangs: time or all timers have run out');
    if ('error' in outcome) throw outcome.error;
    return outcome.value;
  }

  /** Passes some time. */
  async pass(ms: number): Promise<void> {
    await this.settle(() => this.time.sleep(ms));
  }

  /** The room, on hs1: create, Alice, power levels, join rules. */
  async createRoom(): Promise<void> {
    const { hs1, rules } = this;
    const { store } = hs1;
    const content = { room_version: rules.version, ...(rules.creatorInContent ? { creator: ALICE } : {}) };
    const create = hashAndSignPdu(
      rules,
      {
        type: 'm.room.create',
        ...(rules.roomIdIsCreateEventHash ? {} : { room_id: this.roomId }),
        sender: ALICE,
        state_key: '',
        content,
        auth_events: [],
        prev_events: [],
        depth: 1,
        origin_server_ts: this.time.now(),
      },
      keyOf(HS1),
    );
    if (rules.roomIdIsCreateEventHash) this.roomId = `!${create.eventId.slice(1)}` as RoomId;
    const { roomId } = this;
    const nid = store.write((writer) => internRoom(writer, roomId));
    const room = { nid, roomId, version: rules.version };
    const { nids, dropped } = await ingestPdus(hs1.room, room, [Buffer.from(JSON.stringify(create.json))], {
      stateOnly: true,
      pushed: false,
    });
    const [createNid] = nids;
    if (createNid === undefined) throw new Error(`create: ${JSON.stringify(dropped)}`);
    const none = 0 as StateGroupNid;
    store.write((writer) =>
      putRoom(writer, nid, { ...room, residency: 'full-state', createNid, currentGroup: none, extremities: [] }),
    );
    const { verdict, reason } = await acceptEvent(hs1.room, roomId, createNid);
    if (verdict !== 'accepted') throw new Error(`create: ${reason}`);
    await hs1.send(roomId, ALICE, 'm.room.member', ALICE, { membership: 'join' });
    await hs1.send(roomId, ALICE, 'm.room.power_levels', '', this.levels({ [MOD]: 50 }));
    await hs1.send(roomId, ALICE, 'm.room.join_rules', '', { join_rule: 'public' });
  }

  /** Power levels with Alice at the top. */
  levels(users: JsonObject): JsonObject {
    return { users: { ...(this.rules.privilegedCreators ? {} : { [ALICE]: 100 }), ...users } };
  }

  /** Makes an event up as of hs1's states. `authAt`: auth events by the state after this event instead. */
  craft(intent: Intent, prevIds: readonly EventId[], authAt?: EventId): Promise<EventId> {
    const { hs1, rules, roomId } = this;
    return hs1.room.queues.run(roomId, async () => {
      const { store } = hs1;
      const room = loadRoom(store, roomId);
      if (room === undefined) throw new Error('hs1 has lost the room');
      const after = (id: EventId) => eventContext(store, eventNidOf(store, id) as EventNid)?.after ?? 0;
      const groups = (authAt === undefined ? prevIds : [authAt]).map(after) as StateGroupNid[];
      const state = storedState(store, room, await resolveStoredStates(hs1.room, room, groups, 'interactive'));
      const place = {
        roomId,
        authEventIds: selectAuthEvents(rules, { ...intent, sender: intent.sender as UserId }, state),
        prevEventIds: prevIds,
        depth: Math.max(...prevIds.map((id) => loadRecord(store, eventNidOf(store, id) as EventNid)?.depth ?? 0)),
        now: this.time.now() - this.random.below(MINUTE_MS),
        random: hs1.room.random,
      };
      const draft = buildEvent(rules, { ...intent, sender: intent.sender as UserId }, place);
      const signed = hashAndSignPdu(rules, draft, keyOf(serverNameOf(intent.sender as UserId)));
      this.crafted.set(signed.eventId, signed.json);
      return signed.eventId;
    });
  }

  /** An event as anybody has it. */
  eventJson(id: EventId): JsonObject | undefined {
    const made = this.crafted.get(id);
    if (made !== undefined) return made;
    for (const { life, store } of [this.hs1, this.hs3, this.hs2].filter((server) => server.life !== undefined)) {
      if (life === undefined) continue;
      const nid = eventNidOf(store, id);
      const body = nid === undefined ? undefined : loadBody(store, nid);
      if (body !== undefined) return JSON.parse(body.toString('utf8')) as JsonObject;
    }
    return undefined;
  }

  /** IDs of the newest events of hs1's timeline, rejected ones included. */
  newest(count: number): EventId[] {
    return this.hs1.decided.slice(-count).map((nid) => eventIdOfNid(this.hs1.store, nid));
  }

  #puppet(name: ServerName): Host {
    const life = { name, dead: false };
    return { life, answer: (_origin, request) => this.#answerOfPuppet(name, request) };
  }

  async #answerOfPuppet(name: ServerName, request: RemoteRequest): Promise<Answered> {
    const ok = (body: JsonObject): Answered => ({ status: 200, body: Buffer.from(JSON.stringify(body)) });
    const none: Answered = { status: 404, body: Buffer.from('{"errcode":"M_NOT_FOUND","error":"puppet"}') };
    const parts = request.path.split('/');
    if (parts[2] === 'key') return parts[4] === 'server' ? ok(ownKeyResponse(keyOf(name), this.time.now())) : none;
    if (parts[4] === 'send') return ok({ pdus: {} });
    if (parts[4] === 'event') {
      const json = this.eventJson(decodeURIComponent(parts[5] ?? '') as EventId);
      return json === undefined ? none : ok({ origin: name, origin_server_ts: this.time.now(), pdus: [json] });
    }
    if (parts[4] === 'get_missing_events') return ok({ events: this.#missing(request.content ?? {}) });
    return none;
  }

  #missing({ latest_events: latest, earliest_events: earliest }: JsonObject): JsonObject[] {
    const seen = new Set(earliest as EventId[]);
    const toVisit = [...(latest as EventId[])];
    const found: JsonObject[] = [];
    for (let i = 0; i < toVisit.length && found.length < MISSING_MAX; i++) {
      for (const id of referencedIds(this.eventJson(toVisit[i] as EventId)?.prev_events)) {
        const json = seen.has(id) ? undefined : this.eventJson(id);
        seen.add(id);
        if (json === undefined || found.length >= MISSING_MAX) continue;
        found.push(json);
        toVisit.push(id);
      }
    }
    return found.reverse();
  }
}
