import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { REFUSED_TIMES_MAX } from '../../../src/api/federation/send.js';
import type { EventId } from '../../../src/kernel/matrix/ids.js';
import type { JsonObject } from '../../../src/kernel/matrix/json.js';
import { MatrixError } from '../../../src/kernel/matrix/matrix-error.js';
import type { RoomVersionRules } from '../../../src/kernel/matrix/room-versions.js';
import { roomVersionRules } from '../../../src/kernel/matrix/room-versions.js';
import { sign } from '../../../src/kernel/signatures/ed25519.js';
import { addPduSignature } from '../../../src/kernel/signatures/sign-pdu.js';
import { xMatrixHeader } from '../../../src/kernel/signatures/x-matrix.js';
import { BOB, HS2_KEY, HS3_KEY, OWN_KEY, ServedRoom } from './served-room.js';

let served: ServedRoom;
beforeEach(() => {
  served = new ServedRoom();
});
afterEach(() => served.close());

const SEND = '/_matrix/federation/v1/send/1?a=%20b';
const pduOf = (room: string, n: number): JsonObject => ({ room_id: room, n });

describe('send', () => {
  it('hands on the PDUs of each room in order and answers for each', async () => {
    const received: [string, string, number[]][] = [];
    served.receivePdus = async (origin, roomId, pdus) => {
      const numbers = pdus.map((pdu) => (JSON.parse(pdu.toString('utf8')) as { n: number }).n);
      received.push([origin, roomId, numbers]);
      return new Map(numbers.map((n) => [`$${n}` as EventId, n === 2 ? { error: 'refused' } : {}]));
    };
    const content = {
      pdus: [pduOf('!a:hs2', 1), pduOf('!b:hs2', 2), pduOf('!a:hs2', 3)],
      edus: [{ edu_type: 'x' }],
    };
    const { status, body } = await served.call('PUT', SEND, { as: HS2_KEY, content });
    expect(status).toBe(200);
    expect(body).toEqual({ pdus: { $1: {}, $3: {}, $2: { error: 'refused' } } });
    expect(received).toEqual([
      ['hs2', '!a:hs2', [1, 3]],
      ['hs2', '!b:hs2', [2]],
    ]);
  });

  it('hands on each PDU as it stands in the body, byte for byte', async () => {
    let received: string[] = [];
    served.receivePdus = async (_origin, _roomId, pdus) => {
      received = pdus.map((pdu) => pdu.toString('utf8'));
      return new Map();
    };
    const odd = ['{ "z" : "\\u00e9",\n"room_id":"!a:hs2", "b":[ 1 ] }', '{"room_id":"\\u0021a:hs2"}'];
    const bodyText = `{"edus": [],\t"pdus" :[${odd.join(' , ')}]}`;
    await served.call('PUT', SEND, { as: HS2_KEY, content: JSON.parse(bodyText) as JsonObject, bodyText });
    expect(received).toEqual(odd);
  });

  it('answers for a PDU without a usable room_id, under every ID that it may have', async () => {
    served.receivePdus = async () => new Map([['$1' as EventId, {}]]);
    const message = { type: 'm.room.message', sender: BOB, content: {}, depth: 1 };
    const odd: JsonObject[] = [message, { ...message, room_id: 7 }, { ...message, event_id: '$old:hs2' }];
    const content = { pdus: [pduOf('!a:hs2', 1), ...odd] };
    const { status, body } = await served.call('PUT', SEND, { as: HS2_KEY, content });
    expect(status).toBe(200);
    const answers = body.pdus as Record<string, JsonObject>;
    expect(answers.$1).toEqual({});
    expect(answers['$old:hs2']).toEqual({ error: 'room_id is not a room ID' });
    for (const pdu of odd) {
      for (const version of ['4', '11']) {
        const { eventId } = addPduSignature(roomVersionRules(version) as RoomVersionRules, pdu, HS2_KEY);
        expect(answers[eventId]).toEqual({ error: 'room_id is not a room ID' });
      }
    }
  });

  it('hands on PDUs with numbers that a double does not keep, however the body is spelled', async () => {
    const received: string[] = [];
    served.receivePdus = async (_origin, _roomId, pdus) => {
      received.push(...pdus.map((pdu) => pdu.toString('utf8')));
      return new Map();
    };
    const pdu = '{"room_id":"!a:hs2", "content":{"y":9007199254740993,"x":1.0}}';
    const canonical = '{"edus":[],"pdus":[{"content":{"x":1.0,"y":9007199254740993},"room_id":"!a:hs2"}]}';
    const rest = `"destination":"hs1","method":"PUT","origin":"hs2","uri":${JSON.stringify(SEND)}}`;
    const signature = sign(Buffer.from(`{"content":${canonical},${rest}`), HS2_KEY)
      .toString('base64')
      .slice(0, 86);
    const authorization = `X-Matrix origin=hs2,destination=hs1,key="${HS2_KEY.keyId}",sig="${signature}"`;
    const bodyText = `{ "pdus" : [${pdu}], "edus" : [] }`;
    const call = { content: JSON.parse(bodyText) as JsonObject, authorization };
    expect(await served.call('PUT', SEND, { ...call, bodyText })).toMatchObject({ status: 200 });
    expect(received).toEqual([pdu]);
    const changed = bodyText.replace('993', '992');
    expect(await served.call('PUT', SEND, { ...call, bodyText: changed })).toMatchObject({ status: 401 });
  });

  it('hands on a PDU with a float, whose signature covers the body as it was sent', async () => {
    const received: string[] = [];
    served.receivePdus = async (_origin, _roomId, pdus) => {
      received.push(...pdus.map((pdu) => pdu.toString('utf8')));
      return new Map();
    };
    const pdu = '{"content":{"x":1.0,"y":1.5e-7},"room_id":"!a:hs2"}';
    const bodyText = `{"edus":[],"pdus":[${pdu}]}`;
    const rest = `"destination":"hs1","method":"PUT","origin":"hs2","uri":${JSON.stringify(SEND)}}`;
    const sig = sign(Buffer.from(`{"content":${bodyText},${rest}`), HS2_KEY).toString('base64');
    const authorization = `X-Matrix origin="hs2",destination="hs1",key="ed25519:k",sig="${sig}"`;
    expect((await served.call('PUT', SEND, { authorization, bodyText })).status).toBe(200);
    expect(received).toEqual([pdu]);
    const altered = await served.call('PUT', SEND, { authorization, bodyText: bodyText.replace('1.0', '1.00') });
    expect(altered.status).toBe(401);
  });

  it('takes a transaction of one origin in once, also when it comes twice at a time', async () => {
    let calls = 0;
    served.receivePdus = async () => {
      calls += 1;
      return new Map([['$1' as EventId, {}]]);
    };
    const call = { as: HS2_KEY, content: { pdus: [pduOf('!a:hs2', 1)] } };
    const answers = await Promise.all([served.call('PUT', SEND, call), served.call('PUT', SEND, call)]);
    answers.push(await served.call('PUT', SEND, call));
    for (const { body } of answers) expect(body).toEqual({ pdus: { $1: {} } });
    expect(calls).toBe(1);
    await served.call('PUT', SEND, { ...call, as: HS3_KEY });
    expect(calls).toBe(2);
  });

  it('takes a transaction again that failed', async () => {
    served.receivePdus = () => Promise.reject(new MatrixError(429, 'M_LIMIT_EXCEEDED', 'later'));
    const call = { as: HS2_KEY, content: { pdus: [pduOf('!a:hs2', 1)] } };
    expect(await served.call('PUT', SEND, call)).toMatchObject({ status: 429 });
    served.receivePdus = async () => new Map([['$1' as EventId, {}]]);
    expect(await served.call('PUT', SEND, call)).toMatchObject({ status: 200, body: { pdus: { $1: {} } } });
  });

  it('is refused where its origin could not be asked just then, to be sent again, and answered in the end', async () => {
    const uri = '/_matrix/federation/v1/send/passing';
    const error = 'what it rests on is not to be had';
    served.receivePdus = async () => new Map([['$1' as EventId, { error, mayPass: true }]]);
    const call = { as: HS2_KEY, content: { pdus: [pduOf('!a:hs2', 1)] } };
    for (let n = 0; n < REFUSED_TIMES_MAX; n++) {
      const { status, body } = await served.call('PUT', uri, call);
      expect(status).toBe(503);
      expect(body.error).toMatch(/hs2 could not be asked for what \$1 rests on/);
    }
    expect(await served.call('PUT', uri, call)).toMatchObject({ status: 200, body: { pdus: { $1: { error } } } });
  });

  it('has at most 50 PDUs and 100 EDUs', async () => {
    for (const [pdus, edus, status] of [
      [50, 100, 200],
      [51, 0, 400],
      [0, 101, 400],
    ] as const) {
      const uri = `/_matrix/federation/v1/send/limit-${pdus}-${edus}`;
      const content = {
        pdus: new Array<JsonObject>(pdus).fill(pduOf('!a:hs2', 1)),
        edus: new Array<JsonObject>(edus).fill({}),
      };
      expect((await served.call('PUT', uri, { as: HS2_KEY, content })).status).toBe(status);
    }
  });
});

describe('request authentication', () => {
  it.each([
    ['no header', undefined],
    ['another scheme', 'Bearer abc'],
    ['a key that belongs to another', header({ origin: HS3_KEY.serverName })],
    ['another destination', header({ destination: HS3_KEY.serverName })],
    ['another URI', header({ uri: '/_matrix/federation/v1/send/2' })],
    ['another body', header({ content: { pdus: [], edus: [] } })],
  ])('answers 401 M_UNAUTHORIZED to %s', async (_name, authorization) => {
    const options = { content: { pdus: [] }, ...(authorization === undefined ? {} : { authorization }) };
    const { status, body } = await served.call('PUT', SEND, options);
    expect([status, body.errcode]).toEqual([401, 'M_UNAUTHORIZED']);
    expect(served.callers).toEqual([]);
  });

  it('takes headers without destination and in other spellings', async () => {
    const authorization = header({})
      .replace(/destination="[^"]*",/, '')
      .replace('X-Matrix origin=', 'x-matrix Origin=');
    expect(await served.call('PUT', SEND, { authorization, content: { pdus: [] } })).toMatchObject({ status: 200 });
    expect(served.callers).toEqual(['hs2']);
  });

  it('answers 400 M_BAD_JSON to a signed body that is no object', async () => {
    expect(await served.call('PUT', SEND, { as: HS2_KEY, content: [] })).toMatchObject({
      status: 400,
      body: { errcode: 'M_BAD_JSON' },
    });
  });
});

function header(changes: Partial<Parameters<typeof xMatrixHeader>[0]>): string {
  const request = {
    method: 'PUT',
    uri: SEND,
    origin: HS2_KEY.serverName,
    destination: OWN_KEY.serverName,
    content: { pdus: [] },
  };
  return xMatrixHeader({ ...request, ...changes }, HS2_KEY);
}
