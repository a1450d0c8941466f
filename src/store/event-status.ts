/**
 * The standing of events: one byte each, 1,024 to a page, so that judging 200,000 events rewrites two hundred values.
 *
 * An event whose verdict bits are `unjudged` has been verified but not authorised; nothing may read it as accepted.
 */

import type { EventNid } from './nids.js';
import type { StoreReader, StoreWriter } from './open-store.js';

const PAGE_SHIFT = 10;
const PAGE_BYTES = 1 << PAGE_SHIFT;

/** Lower two bits: the verdict. 0: we know the ID only. */
export const Verdict = { none: 0, unjudged: 1, accepted: 2, rejected: 3 } as const;
export type Verdict = (typeof Verdict)[keyof typeof Verdict];
export const VERDICT_BITS = 3;

/** Further bits. */
export const StatusBit = {
  /** Not part of the timeline: no state before it is known. */
  outlier: 4,
  /** Accepted, but not shown and no forward extremity. */
  softFailed: 8,
  /** A redaction that is accepted removed its content. */
  redacted: 16,
  /** Refused, and an accepted event follows upon it: no forward extremity, should it be accepted after all. */
  followed: 32,
} as const;

/** The status byte of an event. */
export function eventStatus(reader: StoreReader, nid: EventNid): number {
  return reader.tables.event_status_page.getBinaryFast(nid >>> PAGE_SHIFT)?.[nid & (PAGE_BYTES - 1)] ?? 0;
}

/** `eventStatus` for many events in one go: each page is read once. Valid while nothing is written. */
export function eventStatusPages(reader: StoreReader): (nid: EventNid) => number {
  const pages = new Map<number, Uint8Array>();
  return (nid) => {
    const number = nid >>> PAGE_SHIFT;
    let page = pages.get(number);
    if (page === undefined) {
      page = new Uint8Array(reader.tables.event_status_page.getBinaryFast(number) ?? []);
      pages.set(number, page);
    }
    return page[nid & (PAGE_BYTES - 1)] ?? 0;
  };
}

/** The verdict on an event. */
export function eventVerdict(reader: StoreReader, nid: EventNid): Verdict {
  return (eventStatus(reader, nid) & VERDICT_BITS) as Verdict;
}

/** Status bytes of `count` events from `first` on. */
export function eventStatuses(reader: StoreReader, first: EventNid, count: number): Uint8Array {
  const statuses = new Uint8Array(count);
  for (let nid = first as number; nid < first + count; ) {
    const page = reader.tables.event_status_page.getBinaryFast(nid >>> PAGE_SHIFT);
    const start = nid & (PAGE_BYTES - 1);
    const length = Math.min(PAGE_BYTES - start, first + count - nid);
    if (page !== undefined) statuses.set(page.subarray(start, start + length), nid - first);
    nid += length;
  }
  return statuses;
}

/** Sets the status of `nids[i]` to `statusOf(i, the status it has)`; reads and writes each page once when the NIDs ascend. */
export function setEventStatuses(
  writer: StoreWriter,
  nids: ArrayLike<number>,
  statusOf: (index: number, current: number) => number,
): void {
  const pages = new Map<number, Buffer>();
  for (let i = 0; i < nids.length; i++) {
    const nid = nids[i] as number;
    const number = nid >>> PAGE_SHIFT;
    let page = pages.get(number);
    if (page === undefined) {
      page = Buffer.alloc(PAGE_BYTES);
      // lmdb states the length of a fast buffer in a property that `set` does not read: cut it.
      page.set(writer.tables.event_status_page.getBinaryFast(number)?.subarray(0, PAGE_BYTES) ?? []);
      pages.set(number, page);
    }
    const at = nid & (PAGE_BYTES - 1);
    page[at] = statusOf(i, page[at] as number);
  }
  for (const [number, page] of pages) writer.tables.event_status_page.put(number, page);
}

/** Sets the status of one event. */
export function setEventStatus(writer: StoreWriter, nid: EventNid, status: number): void {
  setEventStatuses(writer, [nid], () => status);
}
