/** History from before our join that comes after it, with the prev_events of an event that somebody put beside the join. */

import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { EventId, ServerName, UserId } from '../../src/kernel/matrix/ids.js';
import type { JsonObject } from '../../src/kernel/matrix/json.js';
import type { RoomVersionRules } from '../../src/kernel/matrix/room-versions.js';
import { roomVersionRules } from '../../src/kernel/matrix/room-versions.js';
import { hashAndSignPdu } from '../../src/kernel/signatures/sign-pdu.js';
import { eventIdOfNid, loadEvent, referencedIds } from '../../src/store/events.js';
import type { EventNid } from '../../src/store/nids.js';
import { isServerJoined, refusals } from '../../src/store/rooms.js';
import { localMembership, putLocalMembership, streamPosition } from '../../src/store/timeline.js';
import { ALICE, BOB, HS2_KEY, HS3_KEY, NOW, ROOM, ServedRoom } from '../api/federation/served-room.js';
import { Joiner } from './joiner.js';

const HS1 = 'hs1' as ServerName;
const HS3 = 'hs3' as ServerName;
const CAROL = '@carol:hs3';

let resident: ServedRoom;
let joiner: Joiner;

beforeEach(async () => {
  resident = new ServedRoom();
  joiner = new Joiner(resident);
  await resident.createRoom();
  await resident.send('m.room.name', '', { name: 'A room' });
  await resident.join(HS3_KEY, CAROL);
});

afterEach(async () => {
  await joiner.close();
  await resident.close();
});

/** Our join, its prev_event, and a message of Carol's that follows upon the same prev_event. `fields`: of the message, instead. */
async function joinAndFork(
  fields: JsonObject = {},
): Promise<{ joinId: EventId; message: ReturnType<typeof hashAndSignPdu> }> {
  await joiner.join();
  const { rules, nid } = joiner.room();
  const joinNid = joiner.partialRow()?.joinNid;
  const join = joinNid === undefined ? undefined : loadEvent(joiner.store, rules, joinNid);
  if (join === undefined) throw new Error(`room ${nid} has no join`);
  const [prev] = referencedIds(join.json.prev_events);
  const uri = `/_matrix/federation/v1/backfill/${encodeURIComponent(ROOM)}?v=${encodeURIComponent(prev ?? '')}&limit=20`;
  const history = (await resident.call('GET', uri, { as: HS3_KEY })).body.pdus as JsonObject[];
  joiner.intercept = (_server, { path }) =>
    path.includes('/get_missing_events/') ? { events: [...history].reverse() } : undefined;
  const idOf = (json: JsonObject) => hashAndSignPdu(rules, json, HS3_KEY).eventId;
  const auth = history.filter(
    ({ type, state_key: key }) => ['m.room.create', 'm.room.power_levels'].includes(String(type)) || key === CAROL,
  );
  const draft = {
    type: 'm.room.message',
    room_id: ROOM,
    sender: CAROL,
    content: { body: 'beside the join' },
    auth_events: auth.map(idOf),
    prev_events: [prev ?? ''],
    depth: 30,
    origin_server_ts: NOW,
    ...fields,
  };
  return { joinId: join.eventId, message: hashAndSignPdu(roomVersionRules('11') as RoomVersionRules, draft, HS3_KEY) };
}

/** Pushes an event of the resident to our server. */
async function tell(eventId: EventId): Promise<void> {
  const uri = `/_matrix/federation/v1/event/${encodeURIComponent(eventId)}`;
  const [pdu] = (await resident.call('GET', uri, { as: HS3_KEY })).body.pdus as JsonObject[];
  expect([...(await joiner.receive(HS1, pdu as JsonObject)).values()]).toEqual([{}]);
}

describe.each(['while the state is partial', 'when the state is full'])('history that comes %s', (when) => {
  it('ends nothing, and does not tell our user of a membership from before the join', async () => {
    // Our user was invited and turned away before the join.
    for (const membership of ['invite', 'leave']) await resident.send('m.room.member', BOB, { membership });
    const { joinId, message } = await joinAndFork();
    if (when === 'when the state is full') expect(await joiner.resync()).toBe(true);
    const answers = await joiner.receive(HS3, message.json);
    expect([...answers.values()]).toEqual([{}]);
    if (when === 'while the state is partial') expect(await joiner.resync()).toBe(true);
    const { extremities, nid } = joiner.room();
    const ids = extremities.map((end) => eventIdOfNid(joiner.store, end));
    expect(ids.toSorted()).toEqual([joinId, message.eventId].toSorted());
    expect(localMembership(joiner.store, BOB, nid)?.membership).toBe('join');
  });
});

describe('history that came while the state was partial', () => {
  it('leaves a user of ours in the room whom the full state has in it, whatever partial state had made of that', async () => {
    // His join was taken, and the answer to it was lost.
    const dan = '@dan:hs2' as UserId;
    await resident.join(HS2_KEY, dan);
    await joiner.join();
    const { nid } = joiner.room();
    const event = joiner.partialRow()?.joinNid as EventNid;
    joiner.store.write((writer) =>
      putLocalMembership(writer, dan, nid, { membership: 'leave', event, position: streamPosition(writer) }),
    );
    expect(await joiner.resync()).toBe(true);
    expect(joiner.members()).toContain(`${dan} join`);
    expect(localMembership(joiner.store, dan, nid)).toMatchObject({ membership: 'join', left: undefined });
  });
});

describe('history that comes when the state is full', () => {
  it('ends nothing before an event that is soft-failed, where our join follows upon that', async () => {
    const topic = await resident.send('m.room.topic', '', { topic: 'the last event before our join' });
    // Rejected: it ends nothing itself, and nothing before it.
    const { message } = await joinAndFork({ type: 'm.room.topic', state_key: '', content: { topic: 'not allowed' } });
    expect(await joiner.resync()).toBe(true);
    // From here on the old topic would not be allowed any more.
    const powerless = await resident.send('m.room.power_levels', '', { users: { [ALICE]: 0 } });
    await tell(powerless);
    expect([...(await joiner.receive(HS3, message.json)).values()]).toEqual([{}]);
    const { extremities, nid } = joiner.room();
    const verdicts = new Map([...refusals(joiner.store, nid)].map(([id, { verdict }]) => [id, verdict]));
    expect([verdicts.get(topic), verdicts.get(message.eventId)]).toEqual(['soft-failed', 'rejected']);
    expect(extremities.map((end) => eventIdOfNid(joiner.store, end))).toEqual([powerless]);
  });

  it('tells our user of being out of the room where the resolution with it takes the join away', async () => {
    const { message } = await joinAndFork();
    expect(await joiner.resync()).toBe(true);
    // The branch beside the join has no membership of our user, and with these rules the join is not allowed any more.
    await tell(await resident.send('m.room.join_rules', '', { join_rule: 'invite' }));
    expect([...(await joiner.receive(HS3, message.json)).values()]).toEqual([{}]);
    const { nid } = joiner.room();
    expect(joiner.members()).toEqual([`${ALICE} join`, `${CAROL} join`]);
    expect(isServerJoined(joiner.store, nid, joiner.server.serverName)).toBe(false);
    const { membership, left } = localMembership(joiner.store, BOB, nid) ?? {};
    expect(membership).toBe('leave');
    expect(left).toBeDefined();
  });
});
