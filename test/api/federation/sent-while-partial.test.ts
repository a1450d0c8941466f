import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { ServerName } from '../../../src/kernel/matrix/ids.js';
import { eventNidOf } from '../../../src/store/events.js';
import { loadRoom, putPartialState, putRoom } from '../../../src/store/rooms.js';
import { BOB, HS2_KEY, HS3_KEY, NOW, ROOM, ServedRoom } from './served-room.js';

const PARTIAL = 'ORG.MATRIX.MSC3895_UNABLE_DUE_TO_PARTIAL_STATE';

let served: ServedRoom;
/** Ours: sent while hs2 was in the room, the kick of its only user, and one that hs2 was not sent. */
let whileIn: string;
let kick: string;
let afterwards: string;

beforeEach(async () => {
  served = new ServedRoom();
  await served.createRoom();
  await served.join(HS2_KEY, BOB);
  whileIn = await served.send('m.room.message', undefined, { body: 'while in' });
  kick = await served.send('m.room.member', BOB, { membership: 'leave' });
  afterwards = await served.send('m.room.message', undefined, { body: 'afterwards' });
  const room = loadRoom(served.store, ROOM);
  const joinNid = eventNidOf(served.store, whileIn as never);
  if (room === undefined || joinNid === undefined) throw new Error('no room');
  served.store.write((writer) => {
    putRoom(writer, room.nid, { ...room, residency: 'partial-state' });
    putPartialState(writer, room.nid, {
      joinNid,
      joinedVia: 'hs4' as ServerName,
      servers: ['hs4' as ServerName],
      deviceListPosition: 0,
      attempts: 0,
      nextTryTs: NOW,
      lastFailure: undefined,
    });
  });
});
afterEach(() => served.close());

function ask(endpoint: 'event' | 'event_auth', eventId: string, as = HS2_KEY) {
  const room = endpoint === 'event' ? '' : `${encodeURIComponent(ROOM)}/`;
  return served.call('GET', `/_matrix/federation/v1/${endpoint}/${room}${encodeURIComponent(eventId)}`, { as });
}

function askMissing(latest: readonly string[]) {
  const content = { earliest_events: [], latest_events: [...latest], limit: 10 };
  const uri = `/_matrix/federation/v1/get_missing_events/${encodeURIComponent(ROOM)}`;
  return served.call('POST', uri, { as: HS2_KEY, content });
}

describe('while our copy is partial, a server that we cannot place', () => {
  it('is given the events that we sent to it, and their auth chains', async () => {
    for (const eventId of [whileIn, kick]) {
      expect(await ask('event', eventId)).toMatchObject({ status: 200 });
      expect(await ask('event_auth', eventId)).toMatchObject({ status: 200 });
      expect(await askMissing([eventId])).toMatchObject({ status: 200 });
    }
  });

  it('is refused about an event that it was not sent', async () => {
    for (const endpoint of ['event', 'event_auth'] as const)
      expect(await ask(endpoint, afterwards)).toMatchObject({ status: 403, body: { errcode: PARTIAL } });
    for (const latest of [[afterwards], [whileIn, afterwards], []])
      expect(await askMissing(latest)).toMatchObject({ status: 403, body: { errcode: 'M_FORBIDDEN' } });
  });

  it('is refused when we sent it nothing', async () => {
    expect(await ask('event', whileIn, HS3_KEY)).toMatchObject({ status: 403, body: { errcode: PARTIAL } });
  });
});

it('with full state, a server that is out of the room is refused its old events as well', async () => {
  const room = loadRoom(served.store, ROOM);
  if (room === undefined) throw new Error('no room');
  served.store.write((writer) => putRoom(writer, room.nid, { ...room, residency: 'full-state' }));
  expect(await ask('event', whileIn)).toMatchObject({ status: 403, body: { errcode: 'M_FORBIDDEN' } });
});
