import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { EventId, RoomId } from '../../src/kernel/matrix/ids.js';
import type { JsonObject } from '../../src/kernel/matrix/json.js';
import { roomVersionRules } from '../../src/kernel/matrix/room-versions.js';
import type { SignedEvent } from '../../src/kernel/signatures/sign-pdu.js';
import { hashAndSignPdu } from '../../src/kernel/signatures/sign-pdu.js';
import { RemoteError } from '../../src/remote/remote-error.js';
import { ingestPdus } from '../../src/room/intake/ingest-pdus.js';
import { receivePdus } from '../../src/room/receive-pdus.js';
import { eventVerdict, Verdict } from '../../src/store/event-status.js';
import { eventIdOfNid, eventNidOf, loadBody } from '../../src/store/events.js';
import type { Room } from '../../src/store/rooms.js';
import { loadRoom, refusals } from '../../src/store/rooms.js';
import { stateEvent } from '../../src/store/state-groups.js';
import { ALICE, BOB, HS2_KEY, HS3_KEY, NOW, OWN_KEY, ROOM, ServedRoom } from '../api/federation/served-room.js';
import { Joiner } from '../partial-state/joiner.js';

const HS2 = HS2_KEY.serverName;

let served: ServedRoom;
beforeEach(async () => {
  served = new ServedRoom();
  await served.createRoom();
  await served.join(HS2_KEY, BOB);
});
afterEach(() => served.close());

const room = () => loadRoom(served.store, ROOM) as Room;

function stateId(type: string, stateKey: string): EventId {
  return eventIdOfNid(served.store, stateEvent(served.store, room().nid, room().currentGroup, type, stateKey));
}

/** A message, of Bob's unless told, on the room's forward extremities. */
function message(changes: JsonObject = {}): SignedEvent {
  const rules = roomVersionRules('11');
  if (rules === undefined) throw new Error('no room version 11');
  const event = {
    type: 'm.room.message',
    room_id: ROOM,
    sender: BOB,
    content: { body: 'caf\u00e9' },
    auth_events: [stateId('m.room.create', ''), stateId('m.room.power_levels', ''), stateId('m.room.member', BOB)],
    prev_events: room().extremities.map((nid) => eventIdOfNid(served.store, nid)),
    depth: 9,
    origin_server_ts: NOW,
  };
  return hashAndSignPdu(rules, { ...event, ...changes }, changes.sender === undefined ? HS2_KEY : HS3_KEY);
}

const noGap = () => Promise.reject(new Error('a test filled a gap'));

/** JSON that no serialiser writes so: keys the wrong way round, escapes, line breaks. */
function oddText(json: JsonObject): string {
  return JSON.stringify(Object.fromEntries(Object.entries(json).reverse()), null, '\t').replaceAll('\u00e9', '\\u00e9');
}

describe('an event that another server pushes', () => {
  it('is stored byte for byte as received, but for its unsigned', async () => {
    const { json, eventId } = message();
    const text = oddText(json);
    const pushed = `{"unsigned" : {"age": 5},${text.slice(1)}`;
    const answers = await receivePdus(served.server, HS2, ROOM, [Buffer.from(pushed)], noGap);
    expect([...answers]).toEqual([[eventId, {}]]);
    const nid = eventNidOf(served.store, eventId);
    if (nid === undefined) throw new Error('the message was not stored');
    expect(eventVerdict(served.store, nid)).toBe(Verdict.accepted);
    expect(loadBody(served.store, nid)?.toString('utf8')).toBe(text);
  });
});

/** Bob's change of his name. */
function rename(): SignedEvent {
  return message({
    type: 'm.room.member',
    state_key: BOB,
    content: { membership: 'join', displayname: 'Robert' },
    auth_events: [
      stateId('m.room.create', ''),
      stateId('m.room.power_levels', ''),
      stateId('m.room.join_rules', ''),
      stateId('m.room.member', BOB),
    ],
  });
}

describe('an event that rests on one that a resync has stored and not judged yet', () => {
  it('is taken in, and what it rests on is judged for it', async () => {
    const renamed = rename();
    const bytes = Buffer.from(JSON.stringify(renamed.json));
    const { nids } = await ingestPdus(served.server, room(), [bytes], { stateOnly: true });
    expect(nids.map((nid) => eventVerdict(served.store, nid))).toEqual([Verdict.unjudged]);
    const said = message({
      auth_events: [stateId('m.room.create', ''), stateId('m.room.power_levels', ''), renamed.eventId],
    });
    const answers = await receivePdus(served.server, HS2, ROOM, [Buffer.from(JSON.stringify(said.json))], noGap);
    expect([...answers]).toEqual([[said.eventId, {}]]);
    const verdicts = [renamed, said].map(({ eventId }) => eventNidOf(served.store, eventId));
    expect(verdicts.map((nid) => nid !== undefined && eventVerdict(served.store, nid))).toEqual([
      Verdict.accepted,
      Verdict.accepted,
    ]);
  });
});

describe('an event that cannot be taken in', () => {
  const bytesOf = (json: JsonObject) => Buffer.from(JSON.stringify(json));

  it.each([
    ['may be taken in later where its origin cannot be reached', new RemoteError('unreachable', HS2, 'gone'), true],
    ['may be taken in later where its origin is busy', new RemoteError('refused', HS2, 'busy', { status: 503 }), true],
    ['is dropped where its origin has no such event', new RemoteError('refused', HS2, 'no', { status: 404 }), false],
  ])('%s for what it rests on', async (_what, failure, mayPass) => {
    const requestStream = () => Promise.reject(failure);
    const server = { ...served.server, client: { ...served.server.client, requestStream } };
    const said = message({ auth_events: [stateId('m.room.create', ''), '$unknown' as EventId] });
    const { error } = (await receivePdus(server, HS2, ROOM, [bytesOf(said.json)], noGap)).get(said.eventId) ?? {};
    expect(error).toMatch(/auth event/);
    const answers = await receivePdus(server, HS2, ROOM, [bytesOf(said.json)], noGap);
    expect(answers.get(said.eventId)).toEqual(mayPass ? { error, mayPass } : { error });
  });

  it('is no refused one any more when it comes again and can be', async () => {
    const requestStream = () => Promise.reject(new RemoteError('unreachable', HS2, 'gone'));
    const server = { ...served.server, client: { ...served.server.client, requestStream } };
    const renamed = rename();
    const said = message({
      auth_events: [stateId('m.room.create', ''), stateId('m.room.power_levels', ''), renamed.eventId],
    });
    const refused = () => [...refusals(served.store, room().nid)].map(([eventId]) => eventId);
    await receivePdus(server, HS2, ROOM, [bytesOf(said.json)], noGap);
    expect(refused()).toEqual([said.eventId]);
    const answers = await receivePdus(
      server,
      HS2,
      ROOM,
      [renamed, said].map(({ json }) => bytesOf(json)),
      noGap,
    );
    expect([...answers.values()]).toEqual([{}, {}]);
    expect(refused()).toEqual([]);
  });

  it('is answered with an error where its room is not known', async () => {
    const elsewhere = message({ room_id: '!elsewhere:hs2' });
    const roomId = '!elsewhere:hs2' as RoomId;
    const answers = await receivePdus(served.server, HS2, roomId, [bytesOf(elsewhere.json)], noGap);
    expect(answers.get(elsewhere.eventId)?.error).toMatch(/not known here/);
  });

  it('is answered with an error where its form is wrong, and the others are taken in', async () => {
    const good = message();
    const float = { ...message({ depth: 10 }).json, content: { half: 0.5 } };
    const noType = message({ type: 7 });
    const pdus = [float, good.json, noType.json].map(bytesOf);
    const answers = await receivePdus(served.server, HS2, ROOM, pdus, noGap);
    expect(answers.get(good.eventId)).toEqual({});
    expect(answers.get(noType.eventId)?.error).toMatch(/type/);
    expect([...answers.values()].filter(({ error }) => error?.includes('0.5'))).toHaveLength(1);
    expect(answers.size).toBe(3);
  });

  it('is taken in with a float where the room version lets it', async () => {
    const old = '!old:hs1' as RoomId;
    await served.createRoom(undefined, '5', old);
    const row = loadRoom(served.store, old) as Room;
    const stateIn = (type: string, key: string) =>
      eventIdOfNid(served.store, stateEvent(served.store, row.nid, row.currentGroup, type, key));
    const float = hashAndSignPdu(
      row.rules,
      {
        type: 'm.room.message',
        room_id: old,
        sender: ALICE,
        content: { half: 0.5 },
        auth_events: [
          stateIn('m.room.create', ''),
          stateIn('m.room.power_levels', ''),
          stateIn('m.room.member', ALICE),
        ],
        prev_events: row.extremities.map((nid) => eventIdOfNid(served.store, nid)),
        depth: 9,
        origin_server_ts: NOW,
      },
      OWN_KEY,
    );
    const answers = await receivePdus(served.server, HS2, old, [bytesOf(float.json)], noGap);
    expect([...answers]).toEqual([[float.eventId, {}]]);
  });

  it('waits for a join that is under way, which makes its room known', async () => {
    const joiner = new Joiner(served);
    await served.join(HS3_KEY, '@carol:hs3');
    const carol = stateId('m.room.member', '@carol:hs3');
    let pushed: Promise<unknown> | undefined;
    joiner.intercept = (_server, { path }) => {
      if (path.includes('/send_join/')) pushed = joiner.receive(HS3_KEY.serverName, late.json);
      return undefined;
    };
    const late = message({
      sender: '@carol:hs3',
      auth_events: [stateId('m.room.create', ''), stateId('m.room.power_levels', ''), carol],
    });
    await joiner.server.queues.run(ROOM, () => joiner.join());
    const answers = (await pushed) as ReadonlyMap<EventId, object>;
    // The room is known by then; whether its prev_events are to be had is another matter.
    expect(JSON.stringify(answers.get(late.eventId))).not.toMatch(/not known here/);
    await joiner.close();
  });
});

describe('an event that we ask for', () => {
  const CAROL = '@carol:hs3';
  let joiner: Joiner;
  beforeEach(async () => {
    joiner = new Joiner(served);
    await served.send('m.room.name', '', { name: 'A room' });
    await served.join(HS3_KEY, CAROL);
    await joiner.join();
  });
  afterEach(() => joiner.close());

  it.each([
    ['event', 'pdus'],
    ['get_missing_events', 'events'],
  ] as const)('is stored byte for byte as %s answers it', async (endpoint, field) => {
    const first = message();
    const carol = stateId('m.room.member', CAROL);
    const second = message({
      sender: CAROL,
      auth_events: [...(first.json.auth_events as string[]).slice(0, 2), carol],
      prev_events: [first.eventId],
      depth: 10,
    });
    const texts = new Map<EventId, string>();
    joiner.intercept = async (_server, { path }, real) => {
      if (path.includes('/get_missing_events/')) texts.set(first.eventId, oddText(first.json));
      else if (path.includes('/event/'))
        texts.set(carol, oddText(((await real()) as { pdus: JsonObject[] }).pdus[0] ?? {}));
      else return undefined;
      return `{ "${path.includes('/event/') ? 'pdus' : 'events'}" : [ ${[...texts.values()].at(-1)} ], "origin":"hs1" }`;
    };
    const answers = await joiner.receive(HS2, second.json);
    expect(answers.get(second.eventId)).toEqual({});
    const asked = field === 'pdus' ? carol : first.eventId;
    const nid = eventNidOf(joiner.store, asked);
    expect(joiner.asked).toContain(`hs2 ${endpoint}`);
    expect(nid && loadBody(joiner.store, nid)?.toString('utf8')).toBe(texts.get(asked));
  });
});
