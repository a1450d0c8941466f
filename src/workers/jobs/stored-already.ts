/**
 * Which events of a batch the store has already: what was verified once is known by its reference hash, and its signature
 * is not verified again. A response that repeats them, as the one after a crash does, costs their hashes only.
 *
 * The store may have changed by the time the main thread writes: it looks again (intake/store-verified.ts).
 */

import { recordIsRedacted } from '../../store/event-record.js';
import { eventStatusPages, VERDICT_BITS, Verdict } from '../../store/event-status.js';
import { eventNidOfKey } from '../../store/events.js';
import type { EventNid } from '../../store/nids.js';
import type { StoreReader } from '../../store/open-store.js';
import type { SharedEventIndex } from '../event-index.js';
import { positionOf } from '../event-index.js';

/** Whether an event key (32 bytes) has a verified event; valid for one batch. With an index, only what it lists counts. */
export type IsStored = (eventKey: Buffer) => boolean;

export function storedAlready(
  reader: StoreReader,
  index: SharedEventIndex | undefined,
  exceptRedacted: boolean,
): IsStored {
  const statusOf = eventStatusPages(reader);
  const nidOf = (eventKey: Buffer): EventNid | undefined => {
    if (index === undefined) return eventNidOfKey(reader, eventKey);
    const position = positionOf(index, eventKey, 0);
    return position < 0 ? undefined : (index.nids[position] as EventNid);
  };
  return (eventKey) => {
    const nid = nidOf(eventKey);
    if (nid === undefined || (statusOf(nid) & VERDICT_BITS) === Verdict.none) return false;
    const record = exceptRedacted ? reader.tables.event_record_by_nid.getBinaryFast(nid) : undefined;
    return record === undefined || !recordIsRedacted(record);
  };
}
