import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { UserId } from '../../src/kernel/matrix/ids.js';
import { sendEvent } from '../../src/room/send-event.js';
import type { RoomNid } from '../../src/store/nids.js';
import type { Room } from '../../src/store/rooms.js';
import { loadRoom } from '../../src/store/rooms.js';
import { EMPTY_STATE_GROUP } from '../../src/store/state-groups.js';
import { MemberCounter, ROOMS_COUNTED_MAX } from '../../src/sync/count-members.js';
import { ALICE, ROOM, ServedRoom } from '../api/federation/served-room.js';

const DORA = '@dora:hs1' as UserId;

let served: ServedRoom;
let counter: MemberCounter;

beforeEach(async () => {
  served = new ServedRoom();
  counter = new MemberCounter(served.store);
  await served.createRoom();
});

afterEach(() => served.close());

function room(): Room {
  const row = loadRoom(served.store, ROOM);
  if (row === undefined) throw new Error(`no room ${ROOM}`);
  return row;
}

async function setMembership(membership: string, sender: UserId) {
  await sendEvent(served.server, ROOM, { type: 'm.room.member', sender, stateKey: DORA, content: { membership } });
}

describe('the counts of a room', () => {
  it('follow its state, carried on as if counted anew', async () => {
    const counted: string[] = [];
    const count = async () => {
      const carriedOn = await counter.countsOf(room());
      expect(await new MemberCounter(served.store).countsOf(room())).toEqual(carriedOn);
      counted.push(`${carriedOn.joined} ${carriedOn.invited}`);
    };
    await count();
    for (const [membership, sender] of [
      ['invite', ALICE],
      ['join', DORA],
      ['join', DORA],
      ['leave', DORA],
      ['ban', ALICE],
    ] as const) {
      await setMembership(membership, sender);
      await count();
    }
    expect(counted).toEqual(['1 0', '1 1', '2 0', '2 0', '1 0', '1 0']);
  });

  it('are counted once for one state, however many ask', async () => {
    const first = counter.countsOf(room());
    expect(counter.countsOf(room())).toBe(first);
    await setMembership('join', DORA);
    const later = counter.countsOf(room());
    expect(later).not.toBe(first);
    expect([await first, await later]).toEqual([
      { joined: 1, invited: 0 },
      { joined: 2, invited: 0 },
    ]);
  });

  it('are kept for so many rooms, those asked for last', () => {
    const ask = (nid: number) => counter.countsOf({ nid: nid as RoomNid, currentGroup: EMPTY_STATE_GROUP });
    const [first, second] = [ask(1), ask(2)];
    for (let nid = 3; nid <= ROOMS_COUNTED_MAX; nid++) ask(nid);
    expect(ask(1)).toBe(first);
    ask(ROOMS_COUNTED_MAX + 1);
    expect(ask(1)).toBe(first);
    expect(ask(2)).not.toBe(second);
  });
});
