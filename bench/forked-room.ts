/**
 * A room in two forks in a real store, for benches of state resolution: unsigned, since nothing here verifies. All of it
 * follows from its sizes; each size gives a room of its own.
 */

import { hash } from 'node:crypto';
import { eventIdOfHash } from '../src/kernel/matrix/event-key.js';
import type { EventId, RoomId } from '../src/kernel/matrix/ids.js';
import type { JsonObject } from '../src/kernel/matrix/json.js';
import type { RoomVersionRules } from '../src/kernel/matrix/room-versions.js';
import { roomVersionRules } from '../src/kernel/matrix/room-versions.js';
import { RecordFlag } from '../src/store/event-record.js';
import { StatusBit, setEventStatuses, Verdict } from '../src/store/event-status.js';
import { putEvent, putEventKey } from '../src/store/events.js';
import type { EventNid, RoomNid, StateGroupNid } from '../src/store/nids.js';
import type { Store, StoreWriter } from '../src/store/open-store.js';
import { takeNumbers } from '../src/store/open-store.js';
import { internRoom } from '../src/store/rooms.js';
import { internStateKeys, putStateGroup } from '../src/store/state-groups.js';

export interface ForkedRoomSize {
  /** Entries of each state. */
  readonly entries: number;
  /** Entries in which the states differ: the power levels, and members. */
  readonly differing: number;
  /** Power levels events that each fork has on its own, one on top of the other. */
  readonly depth: number;
}

export interface ForkedRoom {
  readonly rules: RoomVersionRules;
  readonly roomId: RoomId;
  readonly roomNid: RoomNid;
  readonly groups: readonly [StateGroupNid, StateGroupNid];
  /** All events of the room: in both states and their auth chains. */
  readonly events: number;
  /** NIDs of the auth events, by NID. */
  readonly authNids: ReadonlyMap<EventNid, readonly EventNid[]>;
  /** NIDs of each fork's state. */
  readonly states: readonly (readonly EventNid[])[];
}

/** Events in one write. */
const WRITE_EVENTS = 2_000;
const ADMIN = '@admin:s0.test';
const FIRST_TS = 1_717_200_000_000;

interface Drafted {
  readonly id: EventId;
  readonly key: Buffer;
  readonly type: string;
  readonly stateKey: string;
  readonly sender: string;
  readonly content: JsonObject;
  readonly auth: readonly number[];
}

/** Events in memory, by number. */
class Draft {
  readonly events: Drafted[] = [];
  readonly #tag: string;

  constructor(tag: string) {
    this.#tag = tag;
  }

  add(type: string, stateKey: string, sender: string, content: JsonObject, auth: readonly number[]): number {
    const key = hash('sha256', `${this.#tag} ${this.events.length}`, 'buffer');
    this.events.push({ id: eventIdOfHash(key), key, type, stateKey, sender, content, auth });
    return this.events.length - 1;
  }

  levels(round: number, auth: readonly number[]): number {
    const users: Record<string, number> = { [ADMIN]: 100 };
    for (let n = 0; n < 20; n++) users[`@mod${(round + n) % 50}:s1.test`] = 50;
    return this.add('m.room.power_levels', '', ADMIN, { users, users_default: 0 }, auth);
  }
}

/** Makes the room and stores it; every event is accepted, NIDs are in the order of the event IDs' hashes, as after a resync. */
export function storeForkedRoom(store: Store, version: string, size: ForkedRoomSize): ForkedRoom {
  const rules = roomVersionRules(version) as RoomVersionRules;
  const tag = `${version} ${size.entries} ${size.differing} ${size.depth}`;
  const draft = new Draft(tag);
  const implied = rules.roomIdIsCreateEventHash;
  const create = draft.add('m.room.create', '', '@creator:s0.test', { room_version: version }, []);
  const roomId = (
    implied ? `!${draft.events[create]?.id.slice(1)}` : `!${hash('sha256', tag, 'hex')}:s0.test`
  ) as RoomId;
  const named = (...auth: number[]) => (implied ? auth : [create, ...auth]);
  const creator = draft.add('m.room.member', '@creator:s0.test', '@creator:s0.test', { membership: 'join' }, named());
  // Before the power levels, which give the creator none where they count.
  const rule = draft.add('m.room.join_rules', '', '@creator:s0.test', { join_rule: 'public' }, named(creator));
  const first = draft.add('m.room.power_levels', '', '@creator:s0.test', { users: { [ADMIN]: 100 } }, named(creator));
  const admin = draft.add('m.room.member', ADMIN, ADMIN, { membership: 'join' }, named(first, rule));
  let levels = first;
  const state = new Map<string, number>([
    ['m.room.create\0', create],
    ['m.room.member\0@creator:s0.test', creator],
    ['m.room.join_rules\0', rule],
    [`m.room.member\0${ADMIN}`, admin],
  ]);
  const users: string[] = [];
  for (let n = 0; state.size < size.entries - 1; n++) {
    if (n % 100 === 0) levels = draft.levels(n, named(levels, admin));
    const user = `@member${n}:s${n % 97}.test`;
    users.push(user);
    let member = draft.add('m.room.member', user, user, { membership: 'join' }, named(levels, rule));
    if (n % 2 === 0)
      member = draft.add(
        'm.room.member',
        user,
        user,
        { membership: 'join', displayname: `${n}` },
        named(levels, rule, member),
      );
    state.set(`m.room.member\0${user}`, member);
  }
  const states = [0, 1].map((fork) => {
    const own = new Map(state);
    let top = levels;
    for (let round = 0; round < size.depth; round++) {
      top = draft.levels(2 * round + fork, named(top, admin));
      const user = users[round];
      if (user === undefined || round >= size.differing - 1) continue;
      const before = state.get(`m.room.member\0${user}`) as number;
      const kicked = (round + fork) % 4 === 0;
      const content = { membership: kicked ? 'leave' : 'join', reason: `fork ${fork}` };
      const auth = kicked ? named(top, admin, before) : named(top, rule, before);
      own.set(`m.room.member\0${user}`, draft.add('m.room.member', user, kicked ? ADMIN : user, content, auth));
    }
    own.set('m.room.power_levels\0', top);
    return own;
  });
  return writeRoom(store, rules, roomId, draft.events, states);
}

function writeRoom(
  store: Store,
  rules: RoomVersionRules,
  roomId: RoomId,
  events: readonly Drafted[],
  states: readonly ReadonlyMap<string, number>[],
): ForkedRoom {
  const roomNid = store.write((writer) => internRoom(writer, roomId));
  const firstNid = store.write((writer) => takeNumbers(writer, 'next_event_nid', events.length));
  const order = events
    .map((_, number) => number)
    .sort((x, y) => Buffer.compare(events[x]?.key as Buffer, events[y]?.key as Buffer));
  const nids: EventNid[] = [];
  for (const [rank, number] of order.entries()) nids[number] = (firstNid + rank) as EventNid;
  const authNids = new Map<EventNid, readonly EventNid[]>();
  for (let at = 0; at < order.length; at += WRITE_EVENTS) {
    const written = order.slice(at, at + WRITE_EVENTS);
    store.write((writer) => {
      for (const number of written) {
        const event = events[number] as Drafted;
        const auth = event.auth.map((cited) => nids[cited] as EventNid);
        authNids.set(nids[number] as EventNid, auth);
        putDrafted(
          writer,
          roomNid,
          nids[number] as EventNid,
          number,
          event,
          auth,
          event.auth.map((cited) => (events[cited] as Drafted).id),
          events[number - 1]?.id,
        );
      }
      setEventStatuses(
        writer,
        written.map((number) => nids[number] as EventNid),
        () => Verdict.accepted | StatusBit.outlier,
      );
    });
  }
  const groups = states.map((state) =>
    store.write((writer) => {
      const keys = [...state.keys()].map((key) => key.split('\0') as [string, string]);
      const places = internStateKeys(writer, roomNid, keys);
      const array = new Uint32Array(1 + places.reduce((most, place) => Math.max(most, place), 0));
      for (const [index, number] of [...state.values()].entries())
        array[places[index] as number] = nids[number] as number;
      return putStateGroup(writer, array);
    }),
  );
  store.refresh();
  return {
    rules,
    roomId,
    roomNid,
    groups: groups as [StateGroupNid, StateGroupNid],
    events: events.length,
    authNids,
    states: states.map((state) => [...state.values()].map((number) => nids[number] as EventNid)),
  };
}

function putDrafted(
  writer: StoreWriter,
  roomNid: RoomNid,
  nid: EventNid,
  number: number,
  event: Drafted,
  authNids: readonly EventNid[],
  authIds: readonly EventId[],
  prevId: EventId | undefined,
): void {
  const { type, stateKey, sender, content } = event;
  const text = JSON.stringify({
    auth_events: authIds,
    content,
    depth: number + 1,
    hashes: { sha256: 'q7d9wtWqzkZ1rxcDoQyYV0q9yqUOhMD6NJhn0j1Lw8o' },
    origin_server_ts: FIRST_TS + number,
    prev_events: prevId === undefined ? [] : [prevId],
    sender,
    state_key: stateKey,
    type,
  });
  const plain = type === 'm.room.member' && content.membership !== undefined;
  putEventKey(writer, event.key, nid);
  putEvent(writer, roomNid, {
    nid,
    text,
    draft: {
      bodyBytes: Buffer.byteLength(text),
      depth: number + 1,
      originServerTs: FIRST_TS + number,
      flags: RecordFlag.state | (plain ? 0 : RecordFlag.richContent),
      membership: content.membership,
      type,
      stateKey,
      sender,
      eventKey: event.key,
      authCount: authNids.length,
    },
    authNids,
  });
}
