/**
 * An honest room that a test builds event by event with the kernel alone: no store, no endpoints. It keeps the state before
 * each event and answers what a resident is asked. Forgeries are made with `sign` and never enter it by themselves.
 */

import { authEventTypes } from '../../src/kernel/event-auth/auth-event-types.js';
import type { EventId, RoomId, UserId } from '../../src/kernel/matrix/ids.js';
import { serverNameOf } from '../../src/kernel/matrix/ids.js';
import type { JsonObject, JsonValue } from '../../src/kernel/matrix/json.js';
import { isJsonObject } from '../../src/kernel/matrix/json.js';
import type { RoomVersionRules } from '../../src/kernel/matrix/room-versions.js';
import { roomVersionRules } from '../../src/kernel/matrix/room-versions.js';
import type { SignedEvent } from '../../src/kernel/signatures/sign-pdu.js';
import { hashAndSignPdu } from '../../src/kernel/signatures/sign-pdu.js';
import { testKey } from './federation-stub.js';

export const ROOM_NOW = 1_700_000_000_000;

export interface Said {
  readonly type: string;
  readonly sender: string;
  readonly stateKey?: string;
  readonly content: JsonObject;
}

/** Where an event stands, and whatever else a forger wants to say of it. */
export interface Place {
  readonly prevs?: readonly EventId[];
  readonly auth?: readonly EventId[];
  readonly more?: JsonObject;
  /** Whose key signs; default: the sender's server. */
  readonly signer?: string;
}

type State = ReadonlyMap<string, EventId>;

function referenceIds(list: JsonValue | undefined): EventId[] {
  return ((list ?? []) as JsonValue[]).map((item) => (Array.isArray(item) ? item[0] : item) as EventId);
}

export class ScriptedRoom {
  readonly roomId: RoomId;
  readonly rules: RoomVersionRules;
  readonly events = new Map<EventId, JsonObject>();
  readonly #before = new Map<EventId, State>();
  readonly #named: string;
  #state: State = new Map();
  #ends: readonly EventId[] = [];
  #count = 0;

  /** A public room of `@alice:hs1`, with a name, so that a partial join gets no members. */
  constructor(localpart: string, version = '11') {
    const rules = roomVersionRules(version);
    if (rules === undefined) throw new Error(`no room version ${version}`);
    this.rules = rules;
    this.#named = localpart;
    this.roomId = `!${localpart}:hs1` as RoomId;
    const alice = '@alice:hs1';
    const creator = rules.creatorInContent ? { creator: alice } : {};
    this.state('m.room.create', '', { room_version: version, ...creator }, alice);
    this.state('m.room.member', alice, { membership: 'join' }, alice);
    this.state('m.room.power_levels', '', { users: { [alice]: 100 } }, alice);
    this.state('m.room.join_rules', '', { join_rule: 'public' }, alice);
    this.state('m.room.name', '', { name: localpart }, alice);
  }

  get ends(): readonly EventId[] {
    return this.#ends;
  }

  /** An event on the room's ends, by its state, signed; not in the room. */
  sign({ type, sender, stateKey, content }: Said, place: Place = {}): SignedEvent {
    const { rules } = this;
    this.#count += 1;
    const selected = authEventTypes(rules, { type, sender: sender as UserId, stateKey, content });
    const auth = place.auth ?? selected.flatMap(([t, key]) => this.#state.get(`${t}\0${key}`) ?? []);
    const ids = (list: readonly EventId[]) => (rules.eventReferenceForm === 'pair' ? list.map((id) => [id, {}]) : list);
    const server = serverNameOf(sender as UserId);
    const stated = rules.eventIdForm === 'domain' ? { event_id: `$${this.#named}${this.#count}:${server}` } : {};
    const event = {
      ...stated,
      type,
      room_id: this.roomId,
      sender,
      content,
      ...(stateKey === undefined ? {} : { state_key: stateKey }),
      auth_events: ids(auth) as JsonValue,
      prev_events: ids(place.prevs ?? this.#ends) as JsonValue,
      depth: this.#count,
      origin_server_ts: ROOM_NOW + this.#count,
      ...place.more,
    };
    return hashAndSignPdu(rules, event, testKey(place.signer ?? server));
  }

  /** Takes an event in: it is the room's end now. */
  add({ eventId, json }: SignedEvent): EventId {
    const state = new Map(this.#state);
    this.events.set(eventId, json);
    this.#before.set(eventId, this.#state);
    if (typeof json.state_key === 'string') state.set(`${json.type}\0${json.state_key}`, eventId);
    this.#state = state;
    this.#ends = [eventId];
    return eventId;
  }

  state(type: string, stateKey: string, content: JsonObject, sender = '@alice:hs1'): EventId {
    return this.add(this.sign({ type, stateKey, content, sender }));
  }

  member(user: string, membership: string, sender = user): EventId {
    return this.state('m.room.member', user, { membership }, sender);
  }

  say(body: string, sender = '@alice:hs1'): EventId {
    return this.add(this.sign({ type: 'm.room.message', sender, content: { body } }));
  }

  /** The current event for a state key. */
  id(type: string, stateKey = ''): EventId {
    const found = this.#state.get(`${type}\0${stateKey}`);
    if (found === undefined) throw new Error(`${this.roomId} has no ${type} ${stateKey}`);
    return found;
  }

  pdu(eventId: EventId): JsonObject {
    const found = this.events.get(eventId);
    if (found === undefined) throw new Error(`${this.roomId} has no event ${eventId}`);
    return found;
  }

  /** Members such as `@alice:hs1 join`, sorted. */
  members(): string[] {
    return [...this.#state.values()]
      .map((id) => this.pdu(id))
      .filter(({ type }) => type === 'm.room.member')
      .map(({ state_key: user, content }) => `${user} ${(content as JsonObject).membership}`)
      .sort();
  }

  authChain(ids: Iterable<EventId>): EventId[] {
    const found = new Set<EventId>();
    const toVisit = [...ids].flatMap((id) => referenceIds(this.events.get(id)?.auth_events));
    for (let id = toVisit.pop(); id !== undefined; id = toVisit.pop()) {
      if (found.has(id)) continue;
      found.add(id);
      toVisit.push(...referenceIds(this.events.get(id)?.auth_events));
    }
    return [...found];
  }

  /** What an honest resident answers to `method uri`; undefined: 404. */
  answer(uri: string, body: string): JsonObject | undefined {
    const url = new URL(uri, 'https://resident');
    const [, , , , endpoint = '', ...rest] = url.pathname.split('/').map(decodeURIComponent);
    const eventId = url.searchParams.get('event_id') as EventId;
    switch (endpoint) {
      case 'make_join':
        return this.#makeJoin(rest[1] as string);
      case 'send_join':
        return this.#sendJoin(JSON.parse(body) as JsonObject, rest[1] as EventId, url);
      case 'state_ids':
      case 'state':
        return this.#stateBefore(endpoint, eventId);
      case 'event': {
        const pdu = this.events.get(rest[0] as EventId);
        return pdu && { origin: 'hs1', origin_server_ts: ROOM_NOW, pdus: [pdu] };
      }
      case 'get_missing_events':
        return this.#missing(JSON.parse(body) as JsonObject);
      default:
        return undefined;
    }
  }

  #makeJoin(user: string): JsonObject {
    const { json } = this.sign({
      type: 'm.room.member',
      sender: user,
      stateKey: user,
      content: { membership: 'join' },
    });
    const { hashes: _hashes, signatures: _signatures, ...event } = json;
    return { room_version: this.rules.version, event };
  }

  #sendJoin(json: JsonObject, eventId: EventId, url: URL): JsonObject {
    const before = this.#state;
    this.add({ eventId, json });
    const omit = url.searchParams.get('omit_members') === 'true';
    const state = [...before.values()].filter((id) => !omit || this.pdu(id).type !== 'm.room.member');
    const servers = new Set(this.#joinedIn(before).map((user) => user.split(':')[1] as string));
    return {
      event: json,
      members_omitted: omit,
      ...(omit ? { servers_in_room: [...servers] } : {}),
      state: state.map((id) => this.pdu(id)),
      auth_chain: this.authChain([...state, eventId]).map((id) => this.pdu(id)),
    };
  }

  #joinedIn(state: State): string[] {
    return [...state.values()]
      .map((id) => this.pdu(id))
      .filter(({ type, content }) => type === 'm.room.member' && isJsonObject(content) && content.membership === 'join')
      .map(({ state_key: user }) => user as string);
  }

  #stateBefore(form: 'state_ids' | 'state', eventId: EventId): JsonObject | undefined {
    const state = this.#before.get(eventId);
    if (state === undefined) return undefined;
    const ids = [...state.values()];
    const chain = this.authChain(ids);
    if (form === 'state_ids') return { pdu_ids: ids, auth_chain_ids: chain };
    return { pdus: ids.map((id) => this.pdu(id)), auth_chain: chain.map((id) => this.pdu(id)) };
  }

  #missing({ earliest_events: earliest, latest_events: latest, limit }: JsonObject): JsonObject {
    const stop = new Set(referenceIds(earliest));
    const found: EventId[] = [];
    const toVisit = referenceIds(latest).flatMap((id) => referenceIds(this.events.get(id)?.prev_events));
    for (let id = toVisit.shift(); id !== undefined && found.length < Number(limit); id = toVisit.shift()) {
      if (stop.has(id) || found.includes(id) || !this.events.has(id)) continue;
      found.unshift(id);
      toVisit.push(...referenceIds(this.pdu(id).prev_events));
    }
    return { events: found.map((id) => this.pdu(id)) };
  }
}
