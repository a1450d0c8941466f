import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { receivePdus } from '../../../src/room/receive-pdus.js';
import { BOB, HS2_KEY, HS3_KEY, ROOM, ServedRoom } from './served-room.js';

let served: ServedRoom;
beforeEach(async () => {
  served = new ServedRoom();
  await served.createRoom();
  await served.join(HS2_KEY, BOB);
});
afterEach(() => served.close());

const uri = (tail: string) => `/_matrix/federation/${tail.replaceAll('ROOM', encodeURIComponent(ROOM))}`;

describe('a server that the ACL of a room denies', () => {
  let topic: string;
  beforeEach(async () => {
    topic = encodeURIComponent(await served.send('m.room.topic', '', { topic: 'a topic' }));
    await served.send('m.room.server_acl', '', { allow: ['*'], deny: ['hs2'] });
  });

  it.each([
    ['GET', `v1/make_join/ROOM/${BOB}?ver=11`],
    ['PUT', 'v1/send_join/ROOM/$x'],
    ['PUT', 'v2/send_join/ROOM/$x'],
    ['GET', 'v1/state/ROOM?event_id=TOPIC'],
    ['GET', 'v1/state_ids/ROOM?event_id=TOPIC'],
    ['GET', 'v1/backfill/ROOM?v=TOPIC&limit=1'],
    ['GET', 'v1/event_auth/ROOM/TOPIC'],
    ['POST', 'v1/get_missing_events/ROOM'],
  ] as const)('is refused with 403 M_FORBIDDEN: %s %s', async (method, tail) => {
    const options = { as: HS2_KEY, ...(method === 'GET' ? {} : { content: {} }) };
    const { status, body } = await served.call(method, uri(tail).replace('TOPIC', topic), options);
    expect([status, body.errcode]).toEqual([403, 'M_FORBIDDEN']);
    expect(body.error).toMatch(/ACL/);
  });

  it('gets an error for each PDU of that room, and none for others', async () => {
    served.receivePdus = (origin, roomId, pdus) =>
      receivePdus(served.server, origin, roomId, pdus, () => Promise.resolve());
    const pdu = { type: 'm.room.message', room_id: ROOM, sender: BOB, content: {} };
    const pdus = [
      { ...pdu, depth: 1 },
      { ...pdu, depth: 2 },
    ];
    const { status, body } = await served.call('PUT', uri('v1/send/1'), { as: HS2_KEY, content: { pdus } });
    expect(status).toBe(200);
    const errors = Object.values(body.pdus as Record<string, { error?: string }>).map(({ error }) => error);
    expect(errors).toEqual(Array(2).fill(`the ACL of ${ROOM} denies hs2`));
    const other = await served.call('PUT', uri('v1/send/1'), { as: HS3_KEY, content: { pdus } });
    expect(JSON.stringify(other.body)).not.toMatch(/ACL/);
  });

  it('may take part again when the ACL lets it', async () => {
    await served.send('m.room.server_acl', '', { allow: ['*'] });
    expect((await served.call('GET', uri(`v1/event_auth/ROOM/${topic}`), { as: HS2_KEY })).status).toBe(200);
  });
});
