/**
 * Which events an accepted event follows upon, as far as forward extremities go: its prev_events, and where one of these was
 * rejected or soft-failed, what that one follows upon. Else an event before a refused one would stay an end of the graph
 * for good, however much is said after it. Specification v1.19, server-server API, "Soft failure".
 */

import { eventStatus, StatusBit } from '../store/event-status.js';
import { isAccepted } from '../store/events.js';
import type { EventNid } from '../store/nids.js';
import type { StoreReader } from '../store/open-store.js';
import { eventPrevs } from '../store/timeline.js';

/** Events looked at: who makes longer chains of refused events leaves one more end, which the next event takes in. */
export const FOLLOWED_EVENTS_MAX = 1_000;

/** `prevs`, and what stands behind those of them that are refused. */
export function followedEvents(reader: StoreReader, prevs: readonly EventNid[]): ReadonlySet<EventNid> {
  const followed = new Set(prevs);
  for (const nid of followed) {
    if (followed.size >= FOLLOWED_EVENTS_MAX) break;
    const status = eventStatus(reader, nid);
    if (isAccepted(status) && (status & StatusBit.softFailed) === 0) continue;
    for (const prev of eventPrevs(reader, nid)) followed.add(prev);
  }
  return followed;
}
