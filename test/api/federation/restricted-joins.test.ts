/** What a join of another server's user to a restricted room is answered: who vouches for it, or why nobody does. */

import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { RoomId } from '../../../src/kernel/matrix/ids.js';
import type { JsonObject } from '../../../src/kernel/matrix/json.js';
import { roomVersionRules } from '../../../src/kernel/matrix/room-versions.js';
import { hashAndSignPdu } from '../../../src/kernel/signatures/sign-pdu.js';
import { loadRoom, putRoom } from '../../../src/store/rooms.js';
import { ALICE, BOB, HS2_KEY, HS3_KEY, ROOM, ServedRoom } from './served-room.js';

const SPACE = '!space:hs1' as RoomId;
const EMPTY_SPACE = '!empty:hs1' as RoomId;
const UNKNOWN = '!unknown:hs9';
const CAROL = '@carol:hs3';

let served: ServedRoom;
beforeAll(async () => {
  served = new ServedRoom();
  for (const room of [SPACE, EMPTY_SPACE, ROOM]) await served.createRoom(undefined, undefined, room);
  await served.join(HS2_KEY, BOB, '', HS2_KEY, SPACE);
});
afterAll(() => served.close());

const conditions = (...rooms: readonly string[]) => rooms.map((id) => ({ type: 'm.room_membership', room_id: id }));

function restrict(allow: JsonObject[], joinRule = 'restricted') {
  return served.send('m.room.join_rules', '', { join_rule: joinRule, allow });
}

/** Status and errcode of Bob's make_join, or its template's content. */
async function makeJoin(userId = BOB as string, as = HS2_KEY): Promise<unknown> {
  const uri = `/_matrix/federation/v1/make_join/${encodeURIComponent(ROOM)}/${userId}?ver=11`;
  const { status, body } = await served.call('GET', uri, { as });
  return status === 200 ? (body.event as JsonObject).content : [status, body.errcode];
}

/** Bob's join as he would have made it while he was allowed to, now. */
function sendJoin(template: JsonObject) {
  const rules = roomVersionRules('11');
  if (rules === undefined) throw new Error('no room version 11');
  const { eventId, json } = hashAndSignPdu(rules, template, HS2_KEY);
  const uri = `/_matrix/federation/v2/send_join/${encodeURIComponent(ROOM)}/${encodeURIComponent(eventId)}`;
  return served.call('PUT', uri, { as: HS2_KEY, content: json });
}

const VOUCHED = { membership: 'join', join_authorised_via_users_server: ALICE };

describe('a join to a restricted room', () => {
  it.each(['restricted', 'knock_restricted'])('is vouched for where a condition is met: %s', async (joinRule) => {
    await restrict(conditions(UNKNOWN, EMPTY_SPACE, SPACE), joinRule);
    expect(await makeJoin()).toEqual(VOUCHED);
  });

  it('is M_FORBIDDEN where we know every condition and none is met', async () => {
    await restrict([...conditions(EMPTY_SPACE), { type: 'org.example.other', room_id: UNKNOWN }]);
    expect(await makeJoin()).toEqual([403, 'M_FORBIDDEN']);
    await restrict([]);
    expect(await makeJoin()).toEqual([403, 'M_FORBIDDEN']);
  });

  it('is M_UNABLE_TO_AUTHORISE_JOIN where another server may know that a condition is met', async () => {
    await restrict(conditions(EMPTY_SPACE, UNKNOWN));
    expect(await makeJoin()).toEqual([400, 'M_UNABLE_TO_AUTHORISE_JOIN']);
  });

  it('is M_UNABLE_TO_AUTHORISE_JOIN where we know the other room with partial state only', async () => {
    await restrict(conditions(SPACE));
    const space = loadRoom(served.store, SPACE);
    if (space === undefined) throw new Error('no space');
    served.store.write((writer) => putRoom(writer, space.nid, { ...space, residency: 'partial-state' }));
    expect(await makeJoin()).toEqual([400, 'M_UNABLE_TO_AUTHORISE_JOIN']);
    served.store.write((writer) => putRoom(writer, space.nid, space));
    expect(await makeJoin()).toEqual(VOUCHED);
  });

  it('needs nobody to vouch for who is invited', async () => {
    await restrict(conditions(UNKNOWN));
    await served.send('m.room.member', CAROL, { membership: 'invite' });
    expect(await makeJoin(CAROL, HS3_KEY)).toEqual({ membership: 'join' });
  });

  it('is M_FORBIDDEN at send_join where the condition is not met any more', async () => {
    await restrict(conditions(SPACE));
    const uri = `/_matrix/federation/v1/make_join/${encodeURIComponent(ROOM)}/${BOB}?ver=11`;
    const { body } = await served.call('GET', uri, { as: HS2_KEY });
    await served.send('m.room.member', BOB, { membership: 'leave' }, SPACE);
    expect(await sendJoin(body.event as JsonObject)).toMatchObject({ status: 403, body: { errcode: 'M_FORBIDDEN' } });
    await served.join(HS2_KEY, BOB, '', HS2_KEY, SPACE);
    expect(await sendJoin(body.event as JsonObject)).toMatchObject({ status: 200 });
    await served.send('m.room.member', BOB, { membership: 'leave' });
  });

  it('is M_UNABLE_TO_GRANT_JOIN where no user of ours may invite', async () => {
    await restrict(conditions(SPACE));
    await served.send('m.room.power_levels', '', { invite: 50, users: { [ALICE]: 49 } });
    expect(await makeJoin()).toEqual([400, 'M_UNABLE_TO_GRANT_JOIN']);
    // Who meets no condition may not join whoever is asked.
    expect(await makeJoin('@dave:hs3', HS3_KEY)).toEqual([403, 'M_FORBIDDEN']);
  });
});
