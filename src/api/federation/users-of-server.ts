/** The users of one server in a state of a room: whether it was in the room then. */

import type { ServerName, UserId } from '../../kernel/matrix/ids.js';
import { serverNameOf } from '../../kernel/matrix/ids.js';
import { loadRecord } from '../../store/events.js';
import type { StateGroupNid, StateKeyNid } from '../../store/nids.js';
import { NO_EVENT } from '../../store/nids.js';
import type { Store, StoreReader } from '../../store/open-store.js';
import type { Room } from '../../store/rooms.js';
import { stateEventAt, stateKeyNidOf } from '../../store/state-groups.js';

/** State keys looked at between two turns of the event loop while a server's users are sought: some milliseconds. */
const KEYS_A_TURN = 5000;

/** Places in the room's state of every user of a server that ever had a membership. */
export async function memberPlaces(store: Store, room: Room, origin: ServerName): Promise<StateKeyNid[]> {
  const places: StateKeyNid[] = [];
  let start = '';
  for (;;) {
    const keys = [
      ...store.tables.state_key_nid.getKeys({
        start: [room.nid, 'm.room.member', start],
        end: [room.nid, 'm.room.member\0', ''],
        limit: KEYS_A_TURN,
      }),
    ] as [number, string, string][];
    for (const [, type, userId] of keys) {
      if (type !== 'm.room.member' || serverNameOf(userId as UserId) !== origin) continue;
      const place = stateKeyNidOf(store, room.nid, type, userId);
      if (place !== undefined) places.push(place);
    }
    if (keys.length < KEYS_A_TURN) return places;
    // Again from the last one: it is found twice, which harms nothing.
    start = (keys.at(-1) as [number, string, string])[2];
    store.refresh();
    await new Promise((resolve) => setImmediate(resolve));
  }
}

/** Whether any of these users is joined in a state, or where `invited` is said, invited. */
export function wasIn(
  reader: StoreReader,
  group: StateGroupNid,
  places: readonly StateKeyNid[],
  invited: boolean,
): boolean {
  return places.some((place) => {
    const nid = stateEventAt(reader, group, place);
    const membership = nid === NO_EVENT ? undefined : loadRecord(reader, nid)?.membership;
    return membership === 'join' || (invited && membership === 'invite');
  });
}
