/** `send_join` v1, which servers use that do not know v2: the answer is a list, and nothing is ever left out of it. */

import { afterEach, beforeEach, expect, it } from 'vitest';
import type { JsonObject } from '../../../src/kernel/matrix/json.js';
import { roomVersionRules } from '../../../src/kernel/matrix/room-versions.js';
import { hashAndSignPdu } from '../../../src/kernel/signatures/sign-pdu.js';
import { ALICE, BOB, HS2_KEY, ROOM, ServedRoom } from './served-room.js';

let served: ServedRoom;
beforeEach(() => {
  served = new ServedRoom();
});
afterEach(() => served.close());

/** Bob's join through v1, with a query. */
async function join(version: string, query: string) {
  const room = encodeURIComponent(ROOM);
  const uri = `/_matrix/federation/v1/make_join/${room}/${BOB}?ver=${version}`;
  const made = await served.call('GET', uri, { as: HS2_KEY });
  const rules = roomVersionRules(version);
  if (rules === undefined) throw new Error(`no room version ${version}`);
  const { eventId, json } = hashAndSignPdu(rules, made.body.event as JsonObject, HS2_KEY);
  const sent = `/_matrix/federation/v1/send_join/${room}/${encodeURIComponent(eventId)}${query}`;
  return { eventId, json, answer: await served.call('PUT', sent, { as: HS2_KEY, content: json }) };
}

const keysOf = (events: unknown) => (events as JsonObject[]).map(({ type, state_key: key }) => `${type} ${key}`).sort();

it.each(['1', '2', '11'])('v1 answers [200, state and auth chain] in room version %s', async (version) => {
  await served.createRoom({ join_rule: 'public' }, version);
  // The heroes of a room without a name would come in a partial answer too.
  await served.send('m.room.name', '', { name: 'A name' });
  const { eventId, json, answer } = await join(version, '?omit_members=true');
  expect(answer.status).toBe(200);
  const [status, body, ...more] = answer.raw as unknown as [number, JsonObject];
  expect([status, more]).toEqual([200, []]);
  expect(Object.keys(body).sort()).toEqual(['auth_chain', 'event', 'origin', 'state']);
  const state = ['m.room.create ', 'm.room.join_rules ', `m.room.member ${ALICE}`, 'm.room.name '];
  expect(keysOf(body.state)).toEqual([...state, 'm.room.power_levels ']);
  expect(keysOf(body.auth_chain)).toEqual(['m.room.create ', `m.room.member ${ALICE}`, 'm.room.power_levels ']);
  expect([body.event, body.origin]).toEqual([json, 'hs1']);
  const stored = await served.call('GET', `/_matrix/federation/v1/event/${encodeURIComponent(eventId)}`, {
    as: HS2_KEY,
  });
  expect(stored.body.pdus).toEqual([json]);
});

it('v1 refuses with the plain error object, not with a list', async () => {
  await served.createRoom();
  const sent = `/_matrix/federation/v1/send_join/${encodeURIComponent(ROOM)}/$x`;
  const { status, raw } = await served.call('PUT', sent, { as: HS2_KEY, content: { type: 'm.room.member' } });
  expect([status, raw]).toEqual([400, { errcode: 'M_INVALID_PARAM', error: expect.any(String) }]);
});
