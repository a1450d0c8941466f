import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { EventId, UserId } from '../../src/kernel/matrix/ids.js';
import { sendEvent } from '../../src/room/send-event.js';
import { eventNidOf } from '../../src/store/events.js';
import { loadRoom } from '../../src/store/rooms.js';
import { localMembership, roomTimeline } from '../../src/store/timeline.js';
import { isVisible } from '../../src/sync/visible-to-user.js';
import { ALICE, ROOM, ServedRoom } from '../api/federation/served-room.js';

const DORA = '@dora:hs1' as UserId;
const STRANGER = '@stranger:hs1' as UserId;

let served: ServedRoom;
const names = new Map<EventId, string>();

beforeEach(async () => {
  served = new ServedRoom();
  names.clear();
  await served.createRoom();
});

afterEach(() => served.close());

async function say(name: string): Promise<void> {
  names.set(await served.send('m.room.message', undefined, { body: name }), name);
}

async function setVisibility(visibility: string): Promise<void> {
  const content = { history_visibility: visibility };
  names.set(await served.send('m.room.history_visibility', '', content), visibility);
}

async function setMembership(membership: string, sender: UserId): Promise<void> {
  const intent = { type: 'm.room.member', stateKey: DORA, content: { membership } };
  names.set(await sendEvent(served.server, ROOM, { ...intent, sender }), membership);
}

/** What a user sees of the events that were named, in order. */
function seenBy(userId: UserId): (string | undefined)[] {
  const room = loadRoom(served.store, ROOM);
  if (room === undefined) throw new Error(`no room ${ROOM}`);
  const standing = localMembership(served.store, userId, room.nid);
  const nids = new Map([...names].map(([id, name]) => [eventNidOf(served.store, id), name]));
  const entries = roomTimeline(served.store, room.nid, { after: 0, upTo: 1000, limit: 1000 });
  return entries
    .filter(({ event }) => nids.has(event))
    .filter((entry) => isVisible(served.store, room, userId, standing, entry))
    .map(({ event }) => nids.get(event));
}

describe('the history that a user may see', () => {
  // The event that sets the visibility is seen by who joined later: before it, the history was shared.
  it.each([
    ['shared', ['shared', 'early', 'invite', 'invited', 'join', 'joined', 'leave']],
    ['invited', ['invited', 'invite', 'invited', 'join', 'joined', 'leave']],
    ['joined', ['joined', 'join', 'joined', 'leave']],
    ['world_readable', ['world_readable', 'early', 'invite', 'invited', 'join', 'joined', 'leave', 'late']],
  ])('begins as %s says, and ends with the leave unless anybody may read it', async (visibility, expected) => {
    await setVisibility(visibility);
    await say('early');
    await setMembership('invite', ALICE);
    await say('invited');
    await setMembership('join', DORA);
    await say('joined');
    await setMembership('leave', DORA);
    await say('late');
    expect(seenBy(DORA)).toEqual(expected);
    expect(seenBy(ALICE)).toHaveLength(8);
    expect(seenBy(STRANGER)).toEqual(visibility === 'world_readable' ? expected : []);
  });

  it('is everything again for who joins again where it is shared', async () => {
    await setMembership('join', DORA);
    await setMembership('leave', DORA);
    await say('while away');
    expect(seenBy(DORA)).toEqual(['join', 'leave']);
    await setMembership('join', DORA);
    expect(seenBy(DORA)).toEqual(['join', 'leave', 'while away', 'join']);
  });
});
