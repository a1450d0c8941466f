import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { EventId, RoomId, ServerName } from '../../src/kernel/matrix/ids.js';
import type { JsonObject } from '../../src/kernel/matrix/json.js';
import { roomVersionRules } from '../../src/kernel/matrix/room-versions.js';
import { hashAndSignPdu } from '../../src/kernel/signatures/sign-pdu.js';
import { resyncRoom } from '../../src/partial-state/resync-room.js';
import { Resyncs } from '../../src/partial-state/resyncs.js';
import { RemoteError } from '../../src/remote/remote-error.js';
import { sendEvent } from '../../src/room/send-event.js';
import { eventVerdict, Verdict } from '../../src/store/event-status.js';
import { eventIdOfNid, eventNidOf } from '../../src/store/events.js';
import { joinedServers, loadRoom, partialStateEvents } from '../../src/store/rooms.js';
import { stateEvent } from '../../src/store/state-groups.js';
import { roomTimeline } from '../../src/store/timeline.js';
import { BOB, HS3_KEY, NOW, OWN_KEY, ROOM, ServedRoom } from '../api/federation/served-room.js';
import { Joiner, membersOf } from './joiner.js';

const HS1 = 'hs1' as ServerName;
const CAROL = '@carol:hs3';
const MALLORY = '@mallory:hs3';

let resident: ServedRoom;
let joiner: Joiner;

beforeEach(async () => {
  resident = new ServedRoom();
  joiner = new Joiner(resident);
  await resident.createRoom();
  // A room with a name has no heroes, so that a partial join gets no members.
  await resident.send('m.room.name', '', { name: 'A room' });
  for (const user of [CAROL, '@dave:hs3', MALLORY]) await resident.join(HS3_KEY, user);
});

afterEach(async () => {
  await joiner.close();
  await resident.close();
});

function residentMembers(): string[] {
  const room = loadRoom(resident.store, ROOM);
  return room === undefined ? [] : membersOf(resident.server, room);
}

function say(body: string): Promise<EventId> {
  const content = { msgtype: 'm.text', body };
  return sendEvent(joiner.server, ROOM, { type: 'm.room.message', sender: BOB, stateKey: undefined, content });
}

describe('a room that was joined with partial state', () => {
  it('is usable: the join is in the timeline, members are missing, a message can be sent', async () => {
    await joiner.join();
    const { residency, nid } = joiner.room();
    expect(residency).toBe('partial-state');
    expect(joiner.members()).not.toContain(`${CAROL} join`);
    expect(joiner.partialRow()?.servers.toSorted()).toEqual(['hs1', 'hs3']);
    const sent = await say('hello');
    const timeline = roomTimeline(joiner.store, nid, { after: 0, upTo: 100, limit: 10 });
    const row = joiner.partialRow();
    expect(timeline.map(({ event }) => eventIdOfNid(joiner.store, event))).toEqual([
      row && eventIdOfNid(joiner.store, row.joinNid),
      sent,
    ]);
    expect(partialStateEvents(joiner.store, nid)).toHaveLength(2);
  });

  it('has the full state of the resident after its resynchronisation, and nothing partial is left', async () => {
    await joiner.join();
    await say('while partial');
    expect(await joiner.resync()).toBe(true);
    const { residency, nid } = joiner.room();
    expect(residency).toBe('full-state');
    expect(joiner.members()).toEqual(residentMembers());
    expect(joiner.members()).toContain(`${CAROL} join`);
    expect(joiner.partialRow()).toBeUndefined();
    expect(partialStateEvents(joiner.store, nid)).toEqual([]);
    expect([...joinedServers(joiner.store, nid)]).toEqual([
      ['hs1', 1],
      ['hs2', 1],
      ['hs3', 3],
    ]);
    await say('while full');
  });

  it('asks for events one by one where less than a tenth of the state is missing', async () => {
    for (let n = 0; n < 40; n++) await resident.send('org.example.fact', `${n}`, { n });
    await joiner.join();
    joiner.asked.length = 0;
    expect(await joiner.resync()).toBe(true);
    expect(joiner.asked).not.toContain('hs1 state');
    expect(joiner.asked.filter((line) => line === 'hs1 event').length).toBeGreaterThan(3);
    expect(joiner.members()).toEqual(residentMembers());
  });

  it('waits where a server says that it is asked for events too often, and asks it again', async () => {
    for (let n = 0; n < 40; n++) await resident.send('org.example.fact', `${n}`, { n });
    await joiner.join();
    let refused = 0;
    joiner.intercept = (server, { path }) => {
      if (!path.includes('/event/') || refused >= 3) return undefined;
      refused += 1;
      const details = { status: 429, errcode: 'M_LIMIT_EXCEEDED', retryAfterMs: 1 };
      throw new RemoteError('refused', server, 'too often', details);
    };
    expect(await joiner.resync()).toBe(true);
    expect(refused).toBe(3);
    expect(joiner.asked).not.toContain('hs3 state_ids');
    expect(joiner.members()).toEqual(residentMembers());
  });

  it('keeps a state event that was sent while its state was partial', async () => {
    await joiner.join();
    const topic = await resident.send('m.room.topic', '', { topic: 'before the resync' });
    const answer = await resident.call('GET', `/_matrix/federation/v1/event/${encodeURIComponent(topic)}`, {
      as: HS3_KEY,
    });
    const [pdu] = answer.body.pdus as JsonObject[];
    await joiner.receive(HS1, pdu as JsonObject);
    expect(await joiner.resync()).toBe(true);
    const { nid, currentGroup } = joiner.room();
    const found = stateEvent(joiner.store, nid, currentGroup, 'm.room.topic', '');
    expect(eventIdOfNid(joiner.store, found)).toBe(topic);
  });
});

describe('a resynchronisation that goes wrong', () => {
  it.each([
    ['no JSON', '<html>'],
    ['JSON that is no list of state', '{"pdu_ids":[],"auth_chain_ids":[]}'],
    ['IDs that are none', '{"pdu_ids":["nonsense"],"auth_chain_ids":[]}'],
    ['an answer that ends in the middle', '{"pdu_ids":["$abc'],
  ])('goes on with the next server when the first one answers %s', async (_what, text) => {
    await joiner.join();
    joiner.intercept = (server, { path }) => (server === HS1 && path.includes('/state_ids/') ? text : undefined);
    expect(await joiner.resync()).toBe(true);
    expect(joiner.asked).toContain('hs3 state_ids');
    expect(joiner.room().residency).toBe('full-state');
    expect(joiner.members()).toEqual(residentMembers());
  });

  it('backs off when every server fails: the room stays partial and keeps why', async () => {
    await joiner.join();
    joiner.intercept = (_server, { path }) => (path.includes('/state_ids/') ? '<html>' : undefined);
    expect(await joiner.resync()).toBe(false);
    expect(joiner.room().residency).toBe('partial-state');
    const row = joiner.partialRow();
    expect(row?.attempts).toBe(1);
    expect(row?.nextTryTs).toBeGreaterThan(NOW);
    expect(row?.lastFailure).toMatch(/not a JSON object/);
    let nextTryTs: number | undefined;
    joiner.intercept = () => {
      nextTryTs ??= joiner.partialRow()?.nextTryTs;
      return undefined;
    };
    expect(await joiner.resync()).toBe(true);
    expect(nextTryTs, 'while it is tried again, nobody is told to come back later').toBe(0);
  });

  it('is refused as malformed when the list names an event of another room', async () => {
    const other = '!other:hs1' as RoomId;
    await resident.createRoom(undefined, undefined, other);
    await joiner.join(other);
    await joiner.join();
    const foreign = eventIdOfNid(joiner.store, joiner.room(other).createNid);
    joiner.intercept = async (_server, { path }, real) => {
      if (!path.includes('/state_ids/')) return undefined;
      const answer = (await real()) as { pdu_ids: string[] };
      return { ...answer, pdu_ids: [...answer.pdu_ids, foreign] };
    };
    const attempt = resyncRoom(joiner.server, joiner.room(), HS1, new AbortController().signal);
    await expect(attempt).rejects.toMatchObject({ kind: 'malformed' });
    expect(joiner.room().residency).toBe('partial-state');
  });

  it('is refused as malformed when the list lacks the create event', async () => {
    await joiner.join();
    const create = eventIdOfNid(joiner.store, joiner.room().createNid);
    joiner.intercept = async (_server, { path }, real) => {
      if (!path.includes('/state_ids/')) return undefined;
      const answer = (await real()) as { pdu_ids: string[] };
      return { ...answer, pdu_ids: answer.pdu_ids.filter((id) => id !== create) };
    };
    const attempt = resyncRoom(joiner.server, joiner.room(), HS1, new AbortController().signal);
    await expect(attempt).rejects.toMatchObject({ kind: 'malformed' });
  });

  it('is refused as malformed when the list names two events for one key', async () => {
    const topics: EventId[] = [];
    for (const topic of ['old', 'new']) topics.push(await resident.send('m.room.topic', '', { topic }));
    await resident.join(HS3_KEY, '@erin:hs3');
    await joiner.join();
    joiner.intercept = async (_server, { path }, real) => {
      if (path.includes('/state_ids/')) {
        const answer = (await real()) as { pdu_ids: string[] };
        return { ...answer, pdu_ids: [...new Set([...answer.pdu_ids, ...topics])] };
      }
      if (!path.includes('/state/')) return undefined;
      const answer = (await real()) as { pdus: JsonObject[] };
      const uri = `/_matrix/federation/v1/event/${encodeURIComponent(topics[0] ?? '')}`;
      const old = await resident.call('GET', uri, { as: HS3_KEY });
      return { ...answer, pdus: [...answer.pdus, ...(old.body.pdus as JsonObject[])] };
    };
    const attempt = resyncRoom(joiner.server, joiner.room(), HS1, new AbortController().signal);
    await expect(attempt).rejects.toMatchObject({ kind: 'malformed', message: expect.stringContaining('two events') });
  });

  it('goes on with the next server when the first one withholds an event that it lists', async () => {
    await joiner.join();
    joiner.intercept = async (server, { path }, real) => {
      if (server !== HS1) return undefined;
      const carol = memberEvent(CAROL);
      if (path.endsWith(encodeURIComponent(carol))) {
        throw new RemoteError('refused', server, 'event: not found', { status: 404, errcode: 'M_NOT_FOUND' });
      }
      if (!path.includes('/state/')) return undefined;
      const answer = (await real()) as { pdus: JsonObject[] };
      return { ...answer, pdus: answer.pdus.filter(({ state_key: user }) => user !== CAROL) };
    };
    expect(await joiner.resync()).toBe(true);
    expect(joiner.asked).toContain('hs3 state_ids');
    expect(joiner.members()).toEqual(residentMembers());
  });

  it('completes without a listed event that came and does not verify, from whomever it is asked', async () => {
    await joiner.join();
    joiner.intercept = async (_server, { path }, real) => {
      if (!path.includes('/state/') && !path.includes('/event/')) return undefined;
      const answer = (await real()) as { pdus: JsonObject[] };
      const signatures = { hs3: { 'ed25519:k': 'A'.repeat(86) } };
      const forged = answer.pdus.map((pdu) => (pdu.state_key === CAROL ? { ...pdu, signatures } : pdu));
      return { ...answer, pdus: forged };
    };
    expect(await joiner.resync()).toBe(true);
    expect(joiner.asked).not.toContain('hs3 state_ids');
    expect(joiner.asked).toContain('hs3 event');
    expect(joiner.members()).toEqual(residentMembers().filter((member) => member !== `${CAROL} join`));
  });

  it('can be stopped while the state streams in, and completes when it is started anew', async () => {
    await joiner.join();
    let stopped: Promise<void> | undefined;
    const first = new Resyncs(joiner.server, () => undefined);
    const reached = new Promise<void>((resolve) => {
      joiner.intercept = (_server, { path }) => {
        if (path.includes('/state/')) {
          stopped = first.close();
          resolve();
        }
        return undefined;
      };
    });
    first.start(ROOM);
    await reached;
    await stopped;
    expect(joiner.room().residency).toBe('partial-state');
    joiner.intercept = () => undefined;
    expect(await joiner.resync()).toBe(true);
    expect(joiner.members()).toEqual(residentMembers());
  });

  it('gives a message that is sent meanwhile its full state too', async () => {
    await joiner.join();
    let sent: EventId | undefined;
    joiner.intercept = async (_server, { path }) => {
      if (path.includes('/event/')) sent = await say('in the middle of the resync');
      return undefined;
    };
    expect(await joiner.resync()).toBe(true);
    expect(sent).toBeDefined();
    expect(partialStateEvents(joiner.store, joiner.room().nid)).toEqual([]);
    const nid = sent && eventNidOf(joiner.store, sent);
    expect(joiner.room().extremities).toEqual([nid]);
    expect(joiner.members()).toEqual(residentMembers());
  });

  it('runs once for a room however often it is started, and is resumed after a restart', async () => {
    await joiner.join();
    joiner.asked.length = 0;
    let resyncs: Resyncs | undefined;
    const completed: number[] = [];
    await new Promise<void>((resolve) => {
      resyncs = new Resyncs(joiner.server, (room) => {
        completed.push(room);
        resolve();
      });
      resyncs.resumeAll();
      resyncs.start(ROOM);
      resyncs.start(ROOM);
    });
    await resyncs?.close();
    expect(completed).toEqual([joiner.room().nid]);
    expect(joiner.asked.filter((line) => line.endsWith('state_ids'))).toEqual(['hs1 state_ids']);
  });

  it('fetches nothing again that is stored when it is stopped in the middle and started anew', async () => {
    await joiner.join();
    joiner.asked.length = 0;
    let stopped: Promise<void> | undefined;
    const first = new Resyncs(joiner.server, () => undefined);
    const reached = new Promise<void>((resolve) => {
      // The prev_event of the join is asked for when the whole state is stored.
      joiner.intercept = (_server, { path }) => {
        if (path.includes('/event/')) {
          stopped = first.close();
          resolve();
        }
        return undefined;
      };
    });
    first.start(ROOM);
    await reached;
    await stopped;
    expect(joiner.asked).toEqual(['hs1 state_ids', 'hs1 state', 'hs1 event']);
    expect(joiner.room().residency).toBe('partial-state');
    expect(joiner.partialRow()?.attempts).toBe(0);
    joiner.intercept = () => undefined;
    joiner.asked.length = 0;
    expect(await joiner.resync()).toBe(true);
    expect(joiner.asked).toEqual(['hs1 state_ids', 'hs1 event']);
    expect(joiner.members()).toEqual(residentMembers());
  });
});

describe('un-partial-stating', () => {
  it('rejects an event that was accepted while partial, where its sender was banned in truth', async () => {
    const membership = memberEvent(MALLORY);
    await resident.send('m.room.member', MALLORY, { membership: 'ban' });
    await joiner.join();
    const rules = roomVersionRules('11');
    const row = joiner.partialRow();
    if (rules === undefined || row === undefined) throw new Error('no partial room of version 11');
    const message = hashAndSignPdu(
      rules,
      {
        type: 'm.room.message',
        room_id: ROOM,
        sender: MALLORY,
        content: { body: 'still here' },
        auth_events: [createEvent(), stateEventId('m.room.power_levels', ''), membership],
        prev_events: [eventIdOfNid(joiner.store, row.joinNid)],
        depth: 50,
        origin_server_ts: NOW,
      },
      HS3_KEY,
    );
    await joiner.receive(HS3_KEY.serverName, message.json);
    const nid = eventNidOf(joiner.store, message.eventId);
    if (nid === undefined) throw new Error('the message was not stored');
    const before = eventVerdict(joiner.store, nid);
    expect(await joiner.resync()).toBe(true);
    expect([before, eventVerdict(joiner.store, nid)]).toEqual([Verdict.accepted, Verdict.rejected]);
    expect(joiner.members()).toContain(`${MALLORY} ban`);
    expect(joiner.room().extremities).not.toContain(nid);
    await say('after the ban');
  });
});

function stateEventId(type: string, stateKey: string): EventId {
  const room = loadRoom(resident.store, ROOM);
  if (room === undefined) throw new Error(`no room ${ROOM} on ${OWN_KEY.serverName}`);
  return eventIdOfNid(resident.store, stateEvent(resident.store, room.nid, room.currentGroup, type, stateKey));
}

function memberEvent(userId: string): EventId {
  return stateEventId('m.room.member', userId);
}

function createEvent(): EventId {
  return stateEventId('m.room.create', '');
}
