import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { randomOf } from '../../../scripts/hq/room/plan/random.js';
import type { EventId } from '../../../src/kernel/matrix/ids.js';
import type { JsonObject } from '../../../src/kernel/matrix/json.js';
import { roomVersionRules } from '../../../src/kernel/matrix/room-versions.js';
import type { SigningKey } from '../../../src/kernel/signatures/ed25519.js';
import type { SignedEvent } from '../../../src/kernel/signatures/sign-pdu.js';
import { hashAndSignPdu } from '../../../src/kernel/signatures/sign-pdu.js';
import { receivePdus } from '../../../src/room/receive-pdus.js';
import type { RoomServer } from '../../../src/room/room-server.js';
import { eventStatus, eventVerdict, StatusBit, Verdict } from '../../../src/store/event-status.js';
import { eventIdOfNid, eventNidOf } from '../../../src/store/events.js';
import type { EventNid } from '../../../src/store/nids.js';
import type { Room } from '../../../src/store/rooms.js';
import { loadRoom } from '../../../src/store/rooms.js';
import { stateEvent, stateNids } from '../../../src/store/state-groups.js';
import { roomTimeline } from '../../../src/store/timeline.js';
import { ALICE, BOB, HS2_KEY, NOW, OWN_KEY, ROOM, ServedRoom } from '../../api/federation/served-room.js';

const HS2 = HS2_KEY.serverName;
const noGap = () => Promise.reject(new Error('a test filled a gap'));
const EVENTS_A_STORY = 24;

async function roomWithBob(): Promise<ServedRoom> {
  const served = new ServedRoom();
  await served.createRoom();
  await served.join(HS2_KEY, BOB);
  return served;
}

const roomOf = (served: ServedRoom) => loadRoom(served.store, ROOM) as Room;

/** Writes events on the end of a room, which hears of them only when they are pushed. */
class Writer {
  readonly events: SignedEvent[] = [];
  /** The latest event of each kind that others are authorised by; Bob's and Alice's memberships by their names. */
  readonly auth = new Map<string, EventId>();
  readonly #first: EventId[];
  readonly #depth: number;

  constructor(served: ServedRoom) {
    const room = roomOf(served);
    const id = (type: string, key: string) =>
      eventIdOfNid(served.store, stateEvent(served.store, room.nid, room.currentGroup, type, key));
    this.auth.set('create', id('m.room.create', ''));
    this.auth.set('power', id('m.room.power_levels', ''));
    this.auth.set('rules', id('m.room.join_rules', ''));
    this.auth.set(ALICE, id('m.room.member', ALICE));
    this.auth.set(BOB, id('m.room.member', BOB));
    this.#first = room.extremities.map((nid) => eventIdOfNid(served.store, nid));
    this.#depth = 20;
  }

  add(type: string, changes: JsonObject & { sender?: string } = {}, on = this.events.at(-1)?.eventId): SignedEvent {
    const rules = roomVersionRules('11');
    if (rules === undefined) throw new Error('no room version 11');
    const sender = changes.sender ?? BOB;
    const kinds = ['create', 'power', sender];
    if (type === 'm.room.member' && changes.sender === undefined) kinds.push('rules');
    if (changes.state_key !== sender && changes.state_key === BOB) kinds.push(BOB);
    const event = {
      type,
      room_id: ROOM,
      sender,
      content: {},
      auth_events: kinds.map((kind) => this.auth.get(kind) as EventId),
      prev_events: on === undefined ? this.#first : [on],
      depth: this.#depth + this.events.length,
      origin_server_ts: NOW + this.events.length,
      ...changes,
    };
    const key: SigningKey = sender === ALICE ? OWN_KEY : HS2_KEY;
    const signed = hashAndSignPdu(rules, event, key);
    this.events.push(signed);
    return signed;
  }
}

const bytesOf = ({ json }: SignedEvent) => Buffer.from(JSON.stringify(json));

async function pushTogether(server: RoomServer, events: readonly SignedEvent[]): Promise<Map<EventId, object>> {
  return new Map(await receivePdus(server, HS2, ROOM, events.map(bytesOf), noGap));
}

async function pushOneByOne(server: RoomServer, events: readonly SignedEvent[]): Promise<Map<EventId, object>> {
  const answers = new Map<EventId, object>();
  for (const event of events)
    for (const [id, answer] of await receivePdus(server, HS2, ROOM, [bytesOf(event)], noGap)) answers.set(id, answer);
  return answers;
}

/** All that a room is after some events, without the numbers that a store gave them. */
function outcome(served: ServedRoom, events: readonly SignedEvent[]): JsonObject {
  const { store } = served;
  const room = roomOf(served);
  const nameOf = (nid: number) => eventIdOfNid(store, nid as EventNid);
  return {
    verdicts: events.map(({ eventId }) => {
      const nid = eventNidOf(store, eventId);
      return nid === undefined ? Verdict.none : eventStatus(store, nid);
    }),
    extremities: room.extremities.map(nameOf).sort(),
    state: [...stateNids(store, room.currentGroup)]
      .filter((nid) => nid !== 0)
      .map(nameOf)
      .sort(),
    timeline: [...roomTimeline(store, room.nid, { after: 0, upTo: 1000, limit: 1000 })].map(({ event }) =>
      nameOf(event),
    ),
  };
}

describe('events that are pushed together', () => {
  let served: ServedRoom;
  beforeEach(async () => {
    served = await roomWithBob();
  });
  afterEach(() => served.close());

  /** The server, with its durable writes and the events it tells its clients of counted. */
  function counted(): { server: RoomServer; counts: { writes: number; told: EventNid[] } } {
    const counts = { writes: 0, told: [] as EventNid[] };
    const { store } = served;
    const server: RoomServer = {
      ...served.server,
      store: {
        path: store.path,
        tables: store.tables,
        write: (change) => {
          counts.writes += 1;
          return store.write(change);
        },
        writeInBackground: (change) => store.writeInBackground(change),
        refresh: () => store.refresh(),
        close: () => store.close(),
      },
      onTimelineEvent: (_room, event) => counts.told.push(event),
    };
    return { server, counts };
  }

  it('are decided in one write where each follows upon the one before it', async () => {
    const writer = new Writer(served);
    for (let i = 0; i < 30; i++) writer.add('m.room.message', { content: { body: `${i}` } });
    const { server, counts } = counted();
    const answers = await pushTogether(server, writer.events);
    expect([...answers]).toEqual(writer.events.map(({ eventId }) => [eventId, {}]));
    expect(counts.writes).toBe(1);
    expect(counts.told.map((nid) => eventIdOfNid(served.store, nid))).toEqual(
      writer.events.map(({ eventId }) => eventId),
    );
    expect(roomOf(served).extremities.map((nid) => eventIdOfNid(served.store, nid))).toEqual([
      writer.events.at(-1)?.eventId,
    ]);
  });

  it('are judged on what those before them changed', async () => {
    const writer = new Writer(served);
    const topic = { state_key: '', content: { topic: 'mine' } };
    const tooEarly = writer.add('m.room.topic', topic);
    const content = { users: { [ALICE]: 100, [BOB]: 50 } };
    const power = writer.add('m.room.power_levels', { sender: ALICE, state_key: '', content });
    writer.auth.set('power', power.eventId);
    const allowed = writer.add('m.room.topic', topic);
    const banned = { sender: ALICE, state_key: BOB, content: { membership: 'ban' } };
    writer.add('m.room.member', banned);
    const tooLate = writer.add('m.room.message');
    await pushTogether(served.server, writer.events);
    const verdictOf = ({ eventId }: SignedEvent) =>
      eventVerdict(served.store, eventNidOf(served.store, eventId) as EventNid);
    expect([tooEarly, allowed, tooLate].map(verdictOf)).toEqual([Verdict.rejected, Verdict.accepted, Verdict.rejected]);
  });

  it('are none of them written where the write fails, and are taken in when they come again', async () => {
    const writer = new Writer(served);
    for (let i = 0; i < 5; i++) writer.add('m.room.message', { content: { body: `${i}` } });
    const { server } = counted();
    const broken = {
      ...server,
      store: {
        ...server.store,
        write: <T>(change: Parameters<typeof server.store.write<T>>[0]): T =>
          served.store.write((tables) => {
            change(tables);
            throw new Error('the disk is full');
          }),
      },
    };
    await expect(pushTogether(broken, writer.events)).rejects.toThrow('the disk is full');
    const before = outcome(served, writer.events);
    expect(before.verdicts).toEqual(writer.events.map(() => Verdict.unjudged | StatusBit.outlier));
    await pushTogether(served.server, writer.events);
    expect(outcome(served, writer.events).verdicts).toEqual(writer.events.map(() => Verdict.accepted));
  });

  it.each(Array.from({ length: 6 }, (_, seed) => seed))('end as when they come one by one (seed %i)', async (seed) => {
    const other = await roomWithBob();
    const writer = new Writer(served);
    tellStory(writer, seed);
    const together = await pushTogether(served.server, writer.events);
    const alone = await pushOneByOne(other.server, writer.events);
    expect([...together].sort()).toEqual([...alone].sort());
    const ended = outcome(served, writer.events);
    expect(ended).toEqual(outcome(other, writer.events));
    expect(ended.verdicts).toContain(Verdict.accepted);
    await other.close();
  });
});

/** Messages for the most part; in between what is not allowed, what allows it, forks, redactions, kicks and returns. */
function tellStory(writer: Writer, seed: number): void {
  const random = randomOf(`${seed}`, 'pushed together');
  const joined = writer.auth.get(BOB) as EventId;
  let isIn = true;
  while (writer.events.length < EVENTS_A_STORY) {
    const earlier = writer.events.length === 0 ? undefined : random.pick(writer.events).eventId;
    const what = random.below(14);
    if (what === 0) writer.add('m.room.topic', { state_key: '', content: { topic: `${writer.events.length}` } });
    else if (what === 1) {
      const content = { users: { [ALICE]: 100, [BOB]: random.pick([0, 50]) } };
      writer.auth.set('power', writer.add('m.room.power_levels', { sender: ALICE, state_key: '', content }).eventId);
    } else if (what === 2) {
      const membership: string = isIn ? random.pick(['leave', 'ban']) : 'join';
      const by = isIn ? { sender: ALICE } : {};
      writer.auth.set(BOB, writer.add('m.room.member', { ...by, state_key: BOB, content: { membership } }).eventId);
      isIn = membership === 'join';
    } else if (what === 3) writer.add('m.room.message', { content: { body: 'a fork' } }, earlier);
    else if (what <= 5) {
      // Its auth events allow it, whatever has happened since.
      const now = writer.auth.get(BOB) as EventId;
      writer.auth.set(BOB, joined);
      writer.add('m.room.message', { content: { body: 'as if nothing had been' } });
      writer.auth.set(BOB, now);
    } else if (what === 6 && earlier !== undefined) writer.add('m.room.redaction', { content: { redacts: earlier } });
    else writer.add('m.room.message', { content: { body: `${writer.events.length}` } });
  }
}
