import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { JsonObject } from '../../src/kernel/matrix/json.js';
import { MatrixError } from '../../src/kernel/matrix/matrix-error.js';
import { buildSync } from '../../src/sync/build-sync.js';
import { MemberCounter } from '../../src/sync/count-members.js';
import { parseSyncFilter } from '../../src/sync/sync-filter.js';
import { parseSyncToken } from '../../src/sync/sync-token.js';
import { ALICE, BOB, HS2_KEY, ROOM, ServedRoom } from '../api/federation/served-room.js';

let served: ServedRoom;

beforeEach(async () => {
  served = new ServedRoom();
  await served.createRoom();
});
afterEach(() => served.close());

interface Section {
  readonly timeline: { readonly events: readonly JsonObject[]; readonly limited: boolean };
  readonly state: { readonly events: readonly JsonObject[] };
}

async function sync(filter: JsonObject, since?: number) {
  const request = { userId: ALICE, since, filter: parseSyncFilter(filter) };
  const { chunks, isEmpty } = await buildSync(served.server, new MemberCounter(served.store), request);
  const body = JSON.parse(Buffer.concat(chunks).toString('utf8')) as JsonObject;
  const rooms = body.rooms as unknown as { readonly join: Readonly<Record<string, Section>> };
  const position = parseSyncToken(String(body.next_batch));
  return { section: rooms.join[ROOM], isEmpty, position };
}

function say(body: string, more: JsonObject = {}) {
  return served.send('m.room.message', undefined, { body, ...more });
}

function typesIn(events: readonly JsonObject[] = []): unknown[] {
  return events.map(({ type }) => type);
}

function bodiesIn(section: Section | undefined): unknown[] {
  return (section?.timeline.events ?? []).map(({ content }) => (content as JsonObject).body);
}

describe('a filter of /sync', () => {
  it('leaves only the wanted types in the timeline, and fills its limit with them', async () => {
    await say('first');
    for (let n = 0; n < 5; n++) await served.send('org.test.noise', undefined, { n });
    await say('second');
    const wanted = { types: ['m.room.mess*'], limit: 2 };
    const { section } = await sync({ room: { timeline: wanted } });
    expect(bodiesIn(section)).toEqual(['first', 'second']);
    const { section: without } = await sync({ room: { timeline: { not_types: ['org.test.*', 'm.room.*'] } } });
    expect(without?.timeline.events).toEqual([]);
  });

  it('says that the timeline is limited where more of the wanted were there', async () => {
    for (const body of ['one', 'two', 'three']) await say(body);
    const timeline = { types: ['m.room.message'], limit: 2 };
    const { section } = await sync({ room: { timeline } });
    expect([bodiesIn(section), section?.timeline.limited]).toEqual([['two', 'three'], true]);
    const { section: all } = await sync({ room: { timeline: { ...timeline, limit: 3 } } });
    expect([bodiesIn(all), all?.timeline.limited]).toEqual([['one', 'two', 'three'], false]);
  });

  it('picks senders, rooms, and messages with a file', async () => {
    await served.join(HS2_KEY, BOB);
    await say('words');
    await say('picture', { url: 'mxc://hs1/x' });
    const timelines = async (timeline: JsonObject) => (await sync({ room: { timeline } })).section?.timeline.events;
    expect((await timelines({ senders: [BOB] }))?.map(({ state_key }) => state_key)).toEqual([BOB]);
    expect((await timelines({ not_senders: [ALICE] }))?.length).toBe(1);
    expect(await timelines({ rooms: ['!other:hs1'] })).toEqual([]);
    expect(bodiesIn((await sync({ room: { timeline: { contains_url: true } } })).section)).toEqual(['picture']);
    expect((await sync({ room: { rooms: ['!other:hs1'] } })).section).toBeUndefined();
    expect((await sync({ room: { not_rooms: [ROOM] } })).isEmpty).toBe(true);
  });

  it('leaves only the wanted types in the state', async () => {
    const state = { types: ['m.room.create', 'm.room.member'] };
    await say('last');
    const { section } = await sync({ room: { state, timeline: { limit: 1 } } });
    expect(typesIn(section?.state.events).sort()).toEqual(['m.room.create', 'm.room.member']);
  });

  it('brings a change of state that it keeps out of the timeline as state', async () => {
    const { position } = await sync({});
    await served.send('m.room.topic', '', { topic: 'old' });
    await served.send('m.room.topic', '', { topic: 'new' });
    const { section } = await sync({ room: { timeline: { types: ['m.room.message'] } } }, position);
    expect(section?.timeline.events).toEqual([]);
    expect(section?.state.events.map(({ content }) => content)).toEqual([{ topic: 'new' }]);
  });

  it('has a client wait where it leaves nothing of what is new', async () => {
    const { position } = await sync({});
    await served.send('org.test.noise', undefined, {});
    expect((await sync({ room: { timeline: { types: ['m.room.message'] } } }, position)).isEmpty).toBe(true);
    expect((await sync({}, position)).isEmpty).toBe(false);
  });

  it('is refused by name where it is not of its form', () => {
    const cases: readonly (readonly [JsonObject, string])[] = [
      [{ room: [] }, 'filter: room is not an object'],
      [{ room: { timeline: 'x' } }, 'filter: room.timeline is not an object'],
      [{ room: { state: { types: 'm.room.member' } } }, 'room.state.types is not a list of at most 1000 strings'],
      [{ room: { not_rooms: [1] } }, 'room.not_rooms is not a list of at most 1000 strings'],
    ];
    for (const [filter, message] of cases) {
      const parse = () => parseSyncFilter(filter);
      expect(parse).toThrow(MatrixError);
      expect(parse).toThrow(message);
    }
  });
});
