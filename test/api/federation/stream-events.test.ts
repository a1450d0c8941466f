import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { eventIdList, eventList, streamAnswer } from '../../../src/api/federation/stream-events.js';
import { recordBodyBytes } from '../../../src/store/event-record.js';
import { internEventIds } from '../../../src/store/events.js';
import type { Room } from '../../../src/store/rooms.js';
import { loadRoom } from '../../../src/store/rooms.js';
import { stateEntries } from '../../../src/store/state-groups.js';
import { ROOM, ServedRoom } from './served-room.js';

let served: ServedRoom;
beforeEach(async () => {
  served = new ServedRoom();
  await served.createRoom();
});
afterEach(() => served.close());

async function textOf(answer: ReturnType<typeof streamAnswer>): Promise<string> {
  if (!('chunks' in answer)) throw new Error('the answer is not streamed');
  const chunks: Uint8Array[] = [];
  for await (const chunk of answer.chunks) chunks.push(chunk);
  const body = Buffer.concat(chunks);
  expect(body.length).toBe(answer.contentLength);
  return body.toString('utf8');
}

describe('a streamed list of events', () => {
  it('has the stated length where events are missing at its start, middle and end, or have become shorter', async () => {
    const room = loadRoom(served.store, ROOM) as Room;
    const { store } = served;
    const [none] = store.write((writer) => internEventIds(writer, [`$${'A'.repeat(43)}` as never]));
    const state = [...stateEntries(store, room.currentGroup)].map(([, nid]) => nid as number);
    const [first, second, ...rest] = state as [number, number, ...number[]];
    const missing = none as number;
    const nids = [missing, missing, first, missing, second, ...rest, missing];
    const stored = (nid: number) => recordBodyBytes(store.tables.event_record_by_nid.get(nid) as Buffer);
    const bytes = state.reduce((sum, nid) => sum + stored(nid), 0);
    for (const shorter of [0, 7]) {
      const text = await textOf(
        streamAnswer(store, ['{"a":[', eventList(store, room, nids, bytes + shorter), '],"b":1}']),
      );
      expect(JSON.parse(text).a).toHaveLength(state.length);
    }
    const ids = await textOf(streamAnswer(store, ['[', await eventIdList(store, room, nids), ']']));
    expect(JSON.parse(ids)).toHaveLength(state.length);
    expect(await textOf(streamAnswer(store, ['[', eventList(store, room, [], 0), ']']))).toBe('[]');
  });
});
