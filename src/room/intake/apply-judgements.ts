/**
 * Writes verdicts: statuses, and for what was not accepted a refusal that an operator can read. A dropped event is gone as
 * if it had never come; a rejected one stays, so that later events which name it can be judged.
 */

import {
  eventVerdict,
  StatusBit,
  setEventStatus,
  setEventStatuses,
  VERDICT_BITS,
  Verdict,
} from '../../store/event-status.js';
import { eventIdOfNid, loadRecord } from '../../store/events.js';
import type { EventNid, RoomNid } from '../../store/nids.js';
import type { StoreWriter } from '../../store/open-store.js';
import { putRefusal } from '../../store/rooms.js';
import { refreshTargets } from '../redactions/apply-redactions.js';
import type { StateRoom } from '../room-state.js';
import type { IngestRefusal } from './ingest-events.js';
import type { Judgements } from './judge-events.js';

/**
 * Writes verdicts on outliers; redactions that waited for them apply. What was judged while these were being made keeps its
 * verdict: it may stand in the timeline by now, and would be taken for an outlier and shown again when it comes again.
 */
export function applyJudgements(writer: StoreWriter, room: StateRoom, nids: Uint32Array, judgements: Judgements): void {
  for (const { nid, judgement, code, reason } of judgements.refusals) {
    if (loadRecord(writer, nid) === undefined || eventVerdict(writer, nid) > Verdict.unjudged) continue;
    putRefusal(writer, room.nid, eventIdOfNid(writer, nid), { verdict: judgement, code, reason });
    if (judgement === 'dropped') removeEvent(writer, nid);
  }
  setEventStatuses(writer, nids, (i, current) => {
    if ((current & VERDICT_BITS) > Verdict.unjudged) return current;
    const verdict = judgements.verdicts[i];
    if (verdict === 'dropped') return Verdict.none;
    return (verdict === 'accepted' ? Verdict.accepted : Verdict.rejected) | StatusBit.outlier;
  });
  refreshTargets(writer, room, nids);
}

/** Records what verification left out or redacted. */
export function putIngestRefusals(
  writer: StoreWriter,
  room: RoomNid,
  dropped: readonly IngestRefusal[],
  redacted: readonly IngestRefusal[],
): void {
  for (const { eventId, code, reason } of dropped) {
    if (eventId !== undefined) putRefusal(writer, room, eventId, { verdict: 'dropped', code, reason });
  }
  for (const { eventId, code, reason } of redacted) {
    if (eventId !== undefined) putRefusal(writer, room, eventId, { verdict: 'redacted', code, reason });
  }
}

/** Forgets an event's body, record and status; its NID stays, for whoever names its ID, and it may come again. */
export function removeEvent(writer: StoreWriter, nid: EventNid): void {
  setEventStatus(writer, nid, Verdict.none);
  writer.tables.event_body_by_nid.remove(nid);
  writer.tables.event_record_by_nid.remove(nid);
}
