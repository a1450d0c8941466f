/**
 * A window of a room's timeline as one user may see it: accepted events, neither rejected nor soft-failed, within the
 * room's history visibility. Specification v1.19, client-server API, "Room History Visibility".
 */

import type { UserId } from '../kernel/matrix/ids.js';
import { isJsonObject } from '../kernel/matrix/json.js';
import { eventStatus, StatusBit } from '../store/event-status.js';
import type { LoadedEvent } from '../store/events.js';
import { isAccepted, loadEvent, loadRecord } from '../store/events.js';
import type { EventNid, StateGroupNid } from '../store/nids.js';
import { NO_EVENT } from '../store/nids.js';
import type { StoreReader } from '../store/open-store.js';
import type { Room } from '../store/rooms.js';
import { stateEvent } from '../store/state-groups.js';
import { eventContext, roomTimeline } from '../store/timeline.js';

export interface TimelineWindow {
  readonly events: readonly LoadedEvent[];
  /** There are earlier events after `after` that the window leaves out. */
  readonly limited: boolean;
  /** Position before the first event of the window. */
  readonly startPosition: number;
  /** State before the first event of the window; undefined when the window is empty. */
  readonly startGroup: StateGroupNid | undefined;
}

/** The newest `limit` events after `after` up to `upTo` that the user may see. */
export function visibleTimeline(
  reader: StoreReader,
  room: Room,
  user: UserId,
  range: { readonly after: number; readonly upTo: number; readonly limit: number },
): TimelineWindow {
  const entries = roomTimeline(reader, room.nid, { ...range, limit: range.limit + 1 });
  const limited = entries.length > range.limit;
  const window = limited ? entries.slice(1) : entries;
  const visibilityByEvent = new Map<EventNid, string>();
  const events: LoadedEvent[] = [];
  for (const { event } of window) {
    if (!isShown(reader, event) || !isVisible(reader, room, user, event, visibilityByEvent)) continue;
    const loaded = loadEvent(reader, room.rules, event);
    if (loaded !== undefined) events.push(loaded);
  }
  const first = window[0];
  return {
    events,
    limited,
    startPosition: first === undefined ? range.after : first.position - 1,
    startGroup: first === undefined ? undefined : eventContext(reader, first.event)?.before,
  };
}

/** Whether an event may be shown to anybody. */
export function isShown(reader: StoreReader, event: EventNid): boolean {
  const status = eventStatus(reader, event);
  return isAccepted(status) && (status & StatusBit.softFailed) === 0;
}

/** For a user who is, or was until this event, in the room. */
function isVisible(
  reader: StoreReader,
  room: Room,
  user: UserId,
  event: EventNid,
  visibilityByEvent: Map<EventNid, string>,
): boolean {
  const context = eventContext(reader, event);
  if (context === undefined) return false;
  const visibilityNid = stateEvent(reader, room.nid, context.before, 'm.room.history_visibility', '');
  let visibility = visibilityByEvent.get(visibilityNid);
  if (visibility === undefined) {
    visibility = visibilityOf(reader, room, visibilityNid);
    visibilityByEvent.set(visibilityNid, visibility);
  }
  if (visibility !== 'joined' && visibility !== 'invited') return true;
  return [context.before, context.after].some((group) => {
    const memberNid = stateEvent(reader, room.nid, group, 'm.room.member', user);
    const membership = memberNid === NO_EVENT ? undefined : loadRecord(reader, memberNid)?.membership;
    return membership === 'join' || (visibility === 'invited' && membership === 'invite');
  });
}

function visibilityOf(reader: StoreReader, room: Room, nid: EventNid): string {
  const content = nid === NO_EVENT ? undefined : loadEvent(reader, room.rules, nid)?.json.content;
  const visibility = isJsonObject(content) ? content.history_visibility : undefined;
  return typeof visibility === 'string' ? visibility : 'shared';
}
