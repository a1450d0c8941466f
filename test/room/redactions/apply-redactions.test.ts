import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { EventId } from '../../../src/kernel/matrix/ids.js';
import { serverNameOf } from '../../../src/kernel/matrix/ids.js';
import type { JsonObject } from '../../../src/kernel/matrix/json.js';
import type { SignedEvent } from '../../../src/kernel/signatures/sign-pdu.js';
import { hashAndSignPdu } from '../../../src/kernel/signatures/sign-pdu.js';
import { receivePdus } from '../../../src/room/receive-pdus.js';
import { eventStatus, StatusBit } from '../../../src/store/event-status.js';
import { eventIdOfNid, eventNidOf, loadBody } from '../../../src/store/events.js';
import type { EventNid } from '../../../src/store/nids.js';
import type { Room } from '../../../src/store/rooms.js';
import { loadRoom } from '../../../src/store/rooms.js';
import { stateEvent } from '../../../src/store/state-groups.js';
import { buildSync } from '../../../src/sync/build-sync.js';
import { MemberCounter } from '../../../src/sync/count-members.js';
import { parseSyncFilter } from '../../../src/sync/sync-filter.js';
import { ALICE, BOB, HS2_KEY, HS3_KEY, NOW, OWN_KEY, ROOM, ServedRoom } from '../../api/federation/served-room.js';

const ROBERT = '@robert:hs2';
const CAROL = '@carol:hs3';
const KEYS = { hs1: OWN_KEY, hs2: HS2_KEY, hs3: HS3_KEY } as const;

let served: ServedRoom;
beforeEach(() => {
  served = new ServedRoom();
});
afterEach(() => served.close());

async function createRoom(version: string): Promise<void> {
  await served.createRoom(undefined, version);
  for (const userId of [BOB, ROBERT, CAROL]) {
    const join = { type: 'm.room.member', state_key: userId, content: { membership: 'join' } };
    await push(eventOf(userId, join, ['m.room.create', 'm.room.power_levels', 'm.room.join_rules']));
  }
}

const room = () => loadRoom(served.store, ROOM) as Room;

/** An event on the room's forward extremities. */
function eventOf(sender: string, event: JsonObject, auth?: readonly string[]): SignedEvent {
  const { nid, currentGroup, extremities, rules } = room();
  const ids = (auth ?? ['m.room.create', 'm.room.power_levels', 'm.room.member']).map((type) => {
    const found = stateEvent(served.store, nid, currentGroup, type, type === 'm.room.member' ? sender : '');
    return eventIdOfNid(served.store, found);
  });
  const place = {
    room_id: ROOM,
    sender,
    auth_events: ids,
    prev_events: extremities.map((extremity) => eventIdOfNid(served.store, extremity)),
    depth: 9,
    origin_server_ts: NOW,
  };
  const key = KEYS[serverNameOf(sender as typeof BOB) as keyof typeof KEYS];
  return hashAndSignPdu(rules, { ...place, ...event }, key);
}

async function push(event: SignedEvent): Promise<EventId> {
  const bytes = Buffer.from(JSON.stringify(event.json));
  const answers = await receivePdus(served.server, HS2_KEY.serverName, ROOM, [bytes], () => Promise.resolve());
  if (answers.get(event.eventId)?.error !== undefined) throw new Error(answers.get(event.eventId)?.error);
  return event.eventId;
}

const messageOf = (sender: string) => eventOf(sender, { type: 'm.room.message', content: { body: 'regrettable' } });

function redactionOf(sender: string, target: EventId): SignedEvent {
  const content = { reason: 'spam' };
  const named = room().rules.redactsInContent
    ? { content: { ...content, redacts: target } }
    : { content, redacts: target };
  return eventOf(sender, { type: 'm.room.redaction', ...named });
}

function isRedacted(eventId: EventId): boolean {
  const nid = eventNidOf(served.store, eventId) as EventNid;
  return (eventStatus(served.store, nid) & StatusBit.redacted) !== 0;
}

/** The events that Alice's client sees, oldest first. */
async function shown(): Promise<JsonObject[]> {
  const filter = parseSyncFilter({ room: { state: { lazy_load_members: true }, timeline: { limit: 50 } } });
  const whole = { userId: ALICE, since: undefined, filter };
  const { chunks } = await buildSync(served.server, new MemberCounter(served.store), whole);
  const { rooms } = JSON.parse(Buffer.concat(chunks).toString('utf8')) as {
    readonly rooms: { readonly join: Record<string, { readonly timeline: { readonly events: JsonObject[] } }> };
  };
  return rooms.join[ROOM]?.timeline.events ?? [];
}

const idsShown = async () => (await shown()).map(({ event_id: eventId }) => eventId);

describe.each(['10', '11'])('a redaction in a room of version %s', (version) => {
  beforeEach(() => createRoom(version));

  it.each([
    ['the sender of the event', BOB],
    ['another user of its server', ROBERT],
    ['a user with the level to redact', ALICE],
  ])('applies when it is of %s', async (_who, sender) => {
    const target = await push(messageOf(BOB));
    const redaction = await push(redactionOf(sender, target));
    expect(isRedacted(target)).toBe(true);
    const uri = `/_matrix/federation/v1/event/${encodeURIComponent(target)}`;
    const { body } = await served.call('GET', uri, { as: HS2_KEY });
    expect((body.pdus as JsonObject[])[0]?.content).toEqual({});
    const event = (await shown()).find(({ event_id: eventId }) => eventId === target);
    expect(event?.content).toEqual({});
    expect(event?.unsigned).toMatchObject({ redacted_because: { event_id: redaction, sender } });
    expect((await idsShown()).slice(-2)).toEqual([target, redaction]);
    // What is stored stays as received: only what leaves us is redacted.
    const nid = eventNidOf(served.store, target) as EventNid;
    expect(loadBody(served.store, nid)?.toString('utf8')).toContain('regrettable');
  });

  it('does nothing, and no client sees it, when its sender may not redact', async () => {
    const target = await push(messageOf(BOB));
    const redaction = await push(redactionOf(CAROL, target));
    expect(isRedacted(target)).toBe(false);
    expect(await idsShown()).toContain(target);
    expect(await idsShown()).not.toContain(redaction);
  });

  it('waits for the event that it redacts', async () => {
    const target = messageOf(BOB);
    const redaction = await push(redactionOf(BOB, target.eventId));
    expect(await idsShown()).not.toContain(redaction);
    await push(target);
    expect(isRedacted(target.eventId)).toBe(true);
    expect((await idsShown()).slice(-2)).toEqual([target.eventId, redaction]);
  });

  it('redacts state, which keeps its place and what the rules read of it', async () => {
    const target = await served.send('m.room.topic', '', { topic: 'regrettable' });
    await push(redactionOf(ALICE, target));
    const { nid, currentGroup } = room();
    const topic = stateEvent(served.store, nid, currentGroup, 'm.room.topic', '');
    expect(eventIdOfNid(served.store, topic)).toBe(target);
    expect(isRedacted(target)).toBe(true);
  });

  it('does not redact an event of another room', async () => {
    const other = '!other:hs1' as typeof ROOM;
    await served.createRoom(undefined, version, other);
    const target = await served.send('m.room.message', undefined, { body: 'elsewhere' }, other);
    await push(redactionOf(ALICE, target));
    expect(isRedacted(target)).toBe(false);
  });
});
