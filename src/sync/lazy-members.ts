/**
 * The memberships that a client is told which loads members lazily: of the senders it sees, and when a room's state has
 * become full, of everybody it was told of while the state was partial and members were believed.
 * Specification v1.19, client-server API, "Lazy-loading room members"; MSC3902.
 */

import { setImmediate as nextTurn } from 'node:timers/promises';
import { eventStatus } from '../store/event-status.js';
import { isAccepted, loadRecord } from '../store/events.js';
import type { EventNid, StateGroupNid } from '../store/nids.js';
import { NO_EVENT } from '../store/nids.js';
import type { StoreReader } from '../store/open-store.js';
import type { Room } from '../store/rooms.js';
import { stateEvent } from '../store/state-groups.js';
import type { TimelineEntry } from '../store/timeline.js';
import { roomTimeline } from '../store/timeline.js';

/** Events of a room's partial time that are looked through for members, newest first: some 20 ms in all. */
const SEEN_EVENTS_MAX = 5_000;
/** Events looked through between two turns of the event loop: about 2 ms. */
const EVENTS_A_TURN = 500;

/** The memberships of the timeline's senders; those that the partial state lacks stand among their events' auth events. */
export function addSenders(
  reader: StoreReader,
  room: Room,
  group: StateGroupNid,
  entries: readonly TimelineEntry[],
  nids: Set<EventNid>,
): void {
  for (const { event } of entries) {
    const record = loadRecord(reader, event);
    if (record === undefined) continue;
    const known = stateEvent(reader, room.nid, group, 'm.room.member', record.sender);
    const claimed = record.authNids.find((nid) => {
      const auth = loadRecord(reader, nid);
      return auth?.type === 'm.room.member' && auth.stateKey === record.sender && isAccepted(eventStatus(reader, nid));
    });
    const nid = known === NO_EVENT ? claimed : known;
    if (nid !== undefined) nids.add(nid);
  }
}

/** The memberships, as they are in truth, of everybody who sent an event in `range` or whose membership one changed. */
export async function addSeenMembers(
  reader: StoreReader,
  room: Room,
  group: StateGroupNid,
  range: { readonly after: number; readonly upTo: number },
  nids: Set<EventNid>,
): Promise<void> {
  const users = new Set<string>();
  for (const [i, { event }] of roomTimeline(reader, room.nid, { ...range, limit: SEEN_EVENTS_MAX }).entries()) {
    if (i % EVENTS_A_TURN === EVENTS_A_TURN - 1) await nextTurn();
    const record = loadRecord(reader, event);
    if (record === undefined) continue;
    users.add(record.sender);
    if (record.type === 'm.room.member' && record.stateKey !== undefined) users.add(record.stateKey);
  }
  for (const user of users) {
    const nid = stateEvent(reader, room.nid, group, 'm.room.member', user);
    if (nid !== NO_EVENT) nids.add(nid);
  }
}
