/**
 * What other servers are answered about a room of which we hold partial state, and the same after our last user has left it
 * (paused). Each server asks that the answer depends on: one with a known member, one that the resident named only, a stranger.
 */

import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { KeyId, ServerName } from '../../../src/kernel/matrix/ids.js';
import type { JsonObject } from '../../../src/kernel/matrix/json.js';
import type { SigningKey } from '../../../src/kernel/signatures/ed25519.js';
import { signingKeyOfSeed } from '../../../src/kernel/signatures/ed25519.js';
import { hashAndSignPdu } from '../../../src/kernel/signatures/sign-pdu.js';
import { receivePdus } from '../../../src/room/receive-pdus.js';
import { eventIdOfNid, eventNidOf } from '../../../src/store/events.js';
import type { Room } from '../../../src/store/rooms.js';
import { loadRoom, markPartialStateEvent, putPartialState, putRoom } from '../../../src/store/rooms.js';
import { putServerKey } from '../../../src/store/server-keys.js';
import { stateEvent } from '../../../src/store/state-groups.js';
import { ALICE, BOB, HS2_KEY, HS3_KEY, NOW, ROOM, ServedRoom } from './served-room.js';

const PARTIAL = 'ORG.MATRIX.MSC3895_UNABLE_DUE_TO_PARTIAL_STATE';
const CAROL = '@carol:hs3';
/** The resident named it; we know none of its members. */
const NAMED = keyOf('hs4', 4);
const STRANGER = keyOf('hs5', 5);

let served: ServedRoom;
/** Ours, with full state: before Bob's join, after it. */
let early: string;
let inside: string;
/** With partial state: Bob's, Carol's, ours. */
let ofBob: string;
let ofCarol: string;
let ours: string;

function keyOf(name: string, seed: number): SigningKey {
  return signingKeyOfSeed(name as ServerName, 'ed25519:k' as KeyId, Buffer.alloc(32, seed));
}

function room(): Room {
  const found = loadRoom(served.store, ROOM);
  if (found === undefined) throw new Error('no room');
  return found;
}

/** Takes in a message that another server pushes. */
async function pushed(key: SigningKey, sender: string): Promise<string> {
  const { nid, currentGroup, extremities, rules } = room();
  const idOf = (type: string, stateKey = '') =>
    eventIdOfNid(served.store, stateEvent(served.store, nid, currentGroup, type, stateKey));
  const message = {
    ...{ type: 'm.room.message', room_id: ROOM, sender, content: { body: sender } },
    auth_events: [idOf('m.room.create'), idOf('m.room.power_levels'), idOf('m.room.member', sender)],
    prev_events: extremities.map((event) => eventIdOfNid(served.store, event)),
    ...{ depth: 50, origin_server_ts: NOW },
  };
  const { eventId, json } = hashAndSignPdu(rules, message, key);
  const bytes = Buffer.from(JSON.stringify(json));
  const noGap = () => Promise.reject(new Error('no gap'));
  expect([...(await receivePdus(served.server, key.serverName, ROOM, [bytes], noGap)).values()]).toEqual([{}]);
  return eventId;
}

const say = (body: string) => served.send('m.room.message', undefined, { body });

beforeAll(async () => {
  served = new ServedRoom();
  served.store.write((writer) => {
    for (const { serverName, keyId, publicKey } of [NAMED, STRANGER])
      putServerKey(writer, serverName, keyId, { publicKey, validUntilTs: NOW + 1e9, expired: false });
  });
  await served.createRoom();
  await served.send('m.room.history_visibility', '', { history_visibility: 'joined' });
  early = await say('early');
  await served.join(HS2_KEY, BOB);
  inside = await say('inside');
  await served.join(HS3_KEY, CAROL);
  ofBob = await pushed(HS2_KEY, BOB);
  ofCarol = await pushed(HS3_KEY, CAROL);
  ours = await say('ours');
});
afterAll(() => served.close());

function ask(path: string, as: SigningKey) {
  return served.call('GET', `/_matrix/federation/v1/${path.replace('ROOM', encodeURIComponent(ROOM))}`, { as });
}

async function refusal(path: string, as: SigningKey): Promise<unknown> {
  const { status, body } = await ask(path, as);
  return [status, body.errcode];
}

const query = (eventId: string) => `event_id=${encodeURIComponent(eventId)}`;
const bodies = (pdus: unknown) => (pdus as JsonObject[]).map((pdu) => (pdu.content as JsonObject).body);

describe.each(['partial-state', 'paused'] as const)('asked about a room that is %s', (residency) => {
  beforeAll(() => {
    const partial = [ofBob, ofCarol, ours].map((id) => eventNidOf(served.store, id as never));
    served.store.write((writer) => {
      putRoom(writer, room().nid, { ...room(), residency });
      for (const nid of partial) if (nid !== undefined) markPartialStateEvent(writer, room().nid, nid);
      putPartialState(writer, room().nid, {
        joinNid: partial[0] as NonNullable<(typeof partial)[0]>,
        joinedVia: HS3_KEY.serverName,
        servers: [HS3_KEY.serverName, NAMED.serverName],
        deviceListPosition: 0,
        attempts: 0,
        nextTryTs: NOW,
        lastFailure: undefined,
      });
    });
  });

  it('lets nobody join through us, and does not look at what was asked', async () => {
    for (const as of [HS2_KEY, NAMED, STRANGER]) {
      expect(await refusal(`make_join/ROOM/@x:${as.serverName}?ver=11`, as)).toEqual([404, 'M_NOT_FOUND']);
      // Of another server, and without a version.
      expect(await refusal(`make_join/ROOM/${ALICE}`, as)).toEqual([404, 'M_NOT_FOUND']);
      for (const version of ['v1', 'v2']) {
        const uri = `/_matrix/federation/${version}/send_join/${encodeURIComponent(ROOM)}/$x?omit_members=true`;
        const { status, body } = await served.call('PUT', uri, { as, content: 'nonsense' });
        expect([status, body.errcode]).toEqual([404, 'M_NOT_FOUND']);
      }
    }
  });

  it('gives the state at an event that has it in full, to whom we can place in the room', async () => {
    for (const as of [HS2_KEY, NAMED]) {
      const state = await ask(`state/ROOM?${query(inside)}`, as);
      const ids = await ask(`state_ids/ROOM?${query(inside)}`, as);
      expect([state.status, ids.status]).toEqual([200, 200]);
      expect((state.body.pdus as JsonObject[]).map(({ type, state_key: key }) => `${type} ${key}`)).toContain(
        `m.room.member ${BOB}`,
      );
      expect([(state.body.pdus as JsonObject[]).length, (ids.body.pdu_ids as string[]).length]).toEqual([6, 6]);
    }
    for (const name of ['state', 'state_ids'])
      expect(await refusal(`${name}/ROOM?${query(inside)}`, STRANGER)).toEqual([403, PARTIAL]);
  });

  it('gives no state that is partial, whoever asks and whoever sent the event', async () => {
    for (const as of [HS2_KEY, HS3_KEY, NAMED, STRANGER]) {
      for (const eventId of [ofBob, ofCarol, ours]) {
        for (const name of ['state', 'state_ids'])
          expect(await refusal(`${name}/ROOM?${query(eventId)}`, as)).toEqual([403, PARTIAL]);
      }
    }
  });

  it('gives auth chains, also of events with partial state, to whom we can place in the room', async () => {
    for (const as of [HS2_KEY, NAMED]) {
      const { status, body } = await ask(`event_auth/ROOM/${encodeURIComponent(ofCarol)}`, as);
      const types = (body.auth_chain as JsonObject[]).map(({ type, state_key: key }) => `${type} ${key}`);
      expect([status, types]).toEqual([200, expect.arrayContaining(['m.room.create ', `m.room.member ${CAROL}`])]);
    }
    expect(await refusal(`event_auth/ROOM/${encodeURIComponent(ofCarol)}`, STRANGER)).toEqual([403, PARTIAL]);
  });

  it('gives backfill with the events redacted that others sent while we could not tell who may see them', async () => {
    const back = async (as: SigningKey) => {
      const { status, body } = await ask(`backfill/ROOM?limit=5&v=${encodeURIComponent(ours)}`, as);
      return [status, bodies(body.pdus)];
    };
    // Newest first: ours, Carol's, Bob's, Carol's join, and the message that Bob was there for.
    expect(await back(HS2_KEY)).toEqual([200, ['ours', undefined, BOB, undefined, 'inside']]);
    expect(await back(HS3_KEY)).toEqual([200, ['ours', CAROL, undefined, undefined, undefined]]);
    expect(await back(NAMED)).toEqual([200, ['ours', undefined, undefined, undefined, undefined]]);
    expect(await refusal(`backfill/ROOM?limit=5&v=${encodeURIComponent(ours)}`, STRANGER)).toEqual([
      403,
      'M_FORBIDDEN',
    ]);
  });

  it('gives missing events redacted in the same way, with all that others need to take them in', async () => {
    const missing = (as: SigningKey) =>
      served.call('POST', `/_matrix/federation/v1/get_missing_events/${encodeURIComponent(ROOM)}`, {
        as,
        content: { earliest_events: [early], latest_events: [ours], limit: 20 },
      });
    const found = await missing(HS2_KEY);
    expect([found.status, bodies(found.body.events)]).toEqual([200, [undefined, 'inside', undefined, BOB, undefined]]);
    const [, , , , redacted] = found.body.events as JsonObject[];
    expect(redacted).toMatchObject({ sender: CAROL, content: {}, prev_events: [ofBob], hashes: expect.anything() });
    expect(bodies((await missing(NAMED)).body.events)).toEqual(Array(5).fill(undefined));
    const { status, body } = await missing(STRANGER);
    expect([status, body.errcode]).toEqual([403, 'M_FORBIDDEN']);
  });

  it('hides from a server what was said before its users came, as in a room with full state', async () => {
    const { body } = await ask(`backfill/ROOM?limit=1&v=${encodeURIComponent(early)}`, HS2_KEY);
    expect(bodies(body.pdus)).toEqual([undefined]);
  });
});
