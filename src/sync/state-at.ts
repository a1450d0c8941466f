/**
 * A room's state at a position of the stream, and the entries of a state without its members: a partial state and a
 * lazily loaded one alike are read by key, so that 85,000 members cost nothing.
 */

import type { EventNid, RoomNid, StateGroupNid, StateKeyNid } from '../store/nids.js';
import { NO_EVENT } from '../store/nids.js';
import type { StoreReader } from '../store/open-store.js';
import { EMPTY_STATE_GROUP, stateEventAt } from '../store/state-groups.js';
import { eventContext, roomTimeline } from '../store/timeline.js';

/** Beyond every state key in the order of keys. */
const LAST_STATE_KEY = '\u{10ffff}\u{10ffff}';
const MEMBER = 'm.room.member';

/** The state after the last event of the room up to `position`; empty when the room had none. */
export function stateGroupAt(reader: StoreReader, room: RoomNid, position: number): StateGroupNid {
  const last = roomTimeline(reader, room, { after: 0, upTo: position, limit: 1 })[0];
  if (last === undefined) return EMPTY_STATE_GROUP;
  return eventContext(reader, last.event)?.after ?? EMPTY_STATE_GROUP;
}

/** The position at which the room's state became full after a join with partial state; 0 when it never was partial. */
export function completedPosition(reader: StoreReader, room: RoomNid): number {
  return (reader.tables.meta.get(`completed_position:${room}`) as number | undefined) ?? 0;
}

/** Every entry of a state but `m.room.member`. */
export function nonMemberState(reader: StoreReader, room: RoomNid, group: StateGroupNid): EventNid[] {
  const events: EventNid[] = [];
  const ranges = [
    { start: [room, ''], end: [room, MEMBER, ''] },
    { start: [room, MEMBER, LAST_STATE_KEY], end: [room + 1, ''] },
  ];
  for (const range of ranges) {
    for (const { value } of reader.tables.state_key_nid.getRange(range)) {
      const event = stateEventAt(reader, group, value as StateKeyNid);
      if (event !== NO_EVENT) events.push(event);
    }
  }
  return events;
}
