/**
 * Writes the verdict on an event that had one already, and what follows from it: the state after the event, the refusal
 * that operators read, what clients see, forward extremities, redactions.
 */

import type { ServerName, UserId } from '../kernel/matrix/ids.js';
import { serverNameOf } from '../kernel/matrix/ids.js';
import { followedEvents } from '../room/followed-events.js';
import { currentRow, showAccepted, stateAfter } from '../room/persist-event.js';
import { refreshRedactions } from '../room/redactions/apply-redactions.js';
import { eventStatus, StatusBit, setEventStatus, VERDICT_BITS, Verdict } from '../store/event-status.js';
import type { LoadedEvent } from '../store/events.js';
import type { StateGroupNid } from '../store/nids.js';
import type { StoreWriter } from '../store/open-store.js';
import type { Refusal, Room } from '../store/rooms.js';
import { putRefusal, putRoom, removeRefusal } from '../store/rooms.js';
import { eventPrevs, markFollowed, putEventContext, putLocalMembership, streamPosition } from '../store/timeline.js';

/** `before`: the state before the event, undefined for an outlier. `refusal`: undefined when it is accepted. */
export function putVerdict(
  writer: StoreWriter,
  room: Room,
  { nid, eventId, record }: LoadedEvent,
  before: StateGroupNid | undefined,
  refusal: Refusal | undefined,
  ownServer: ServerName,
): void {
  const status = eventStatus(writer, nid);
  const wasRejected = (status & VERDICT_BITS) === Verdict.rejected;
  if (before !== undefined)
    putEventContext(writer, nid, { before, after: stateAfter(writer, room, { nid, before, refusal }, record) });
  const verdict = refusal === undefined ? Verdict.accepted : Verdict.rejected;
  setEventStatus(writer, nid, (status & ~VERDICT_BITS) | verdict);
  if (refusal !== undefined) putRefusal(writer, room.nid, eventId, refusal);
  else if (wasRejected) removeRefusal(writer, room.nid, eventId);
  const isNews = refusal === undefined && wasRejected && (status & (StatusBit.outlier | StatusBit.softFailed)) === 0;
  if (!isNews) {
    refreshRedactions(writer, room, nid);
    return;
  }
  showAccepted(writer, room, nid);
  // What the state says in the end corrects it, when the room is full.
  const { type, stateKey, membership } = record;
  if (type === 'm.room.member' && stateKey !== undefined && serverNameOf(stateKey as UserId) === ownServer) {
    const position = streamPosition(writer);
    putLocalMembership(writer, stateKey as UserId, room.nid, { membership, event: nid, position });
  }
  if ((status & StatusBit.followed) !== 0) return;
  const row = currentRow(writer, room);
  const prevs = eventPrevs(writer, nid);
  const followed = followedEvents(writer, prevs);
  markFollowed(writer, followed);
  putRoom(writer, room.nid, { ...row, extremities: [...row.extremities.filter((end) => !followed.has(end)), nid] });
}
