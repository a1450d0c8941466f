/**
 * What a batch of PDUs becomes while it is verified: one outcome a PDU, keys, records, in buffers that cross to the main
 * thread without being copied.
 */

import { EVENT_KEY_BYTES } from '../../kernel/matrix/event-key.js';
import type { EventId } from '../../kernel/matrix/ids.js';
import type { KeyNeed } from '../../kernel/signatures/verify-pdu.js';
import type { SharedEventIndex } from '../event-index.js';
import { positionOf } from '../event-index.js';
import type { PduBatch } from '../pdu-batch.js';

/** What became of a PDU. `stored`: the store has it already, so that only its event key is given. */
export const Outcome = { verified: 0, missingKeys: 1, dropped: 2, stored: 3 } as const;

export interface PduRefusal {
  /** Number of the PDU in the batch. */
  readonly number: number;
  readonly eventId: EventId | undefined;
  readonly code: string;
  readonly reason: string;
}

export interface VerifyPdusOutput {
  readonly bytes: Uint8Array<ArrayBuffer>;
  readonly offsets: Uint32Array<ArrayBuffer>;
  /** Stored length of PDU i, from its offset. */
  readonly lengths: Uint32Array<ArrayBuffer>;
  readonly outcomes: Uint8Array<ArrayBuffer>;
  /** 32 bytes a PDU. */
  readonly eventKeys: Uint8Array<ArrayBuffer>;
  /** Position in the index, or -1; without an index always -1. */
  readonly positions: Int32Array<ArrayBuffer>;
  readonly records: Uint8Array<ArrayBuffer>;
  /** Record i is records[recordOffsets[i] .. recordOffsets[i + 1]]; empty unless verified. */
  readonly recordOffsets: Uint32Array<ArrayBuffer>;
  /** Keys of the auth events of PDU i, 32 bytes each, in authKeys from authOffsets[i] to authOffsets[i + 1] (in keys). */
  readonly authKeys: Uint8Array<ArrayBuffer>;
  readonly authOffsets: Uint32Array<ArrayBuffer>;
  /** Keys that are not here, each once. */
  readonly needs: readonly KeyNeed[];
  readonly refusals: readonly PduRefusal[];
  /** PDUs whose content hash failed. */
  readonly redacted: readonly PduRefusal[];
  /** IDs that their keys do not spell (room versions 1 to 3), by number. */
  readonly opaqueIds: readonly (readonly [number, EventId])[];
  readonly signaturesVerified: number;
}

/** Typical bytes of a record, for the first guess at the buffer. */
const RECORD_BYTES_GUESS = 224;
/** Typical auth events of a PDU, likewise. */
const AUTH_EVENTS_GUESS = 4;

/** A buffer that grows as records and auth keys are added. */
export class Appender {
  #bytes: Buffer<ArrayBuffer>;
  length = 0;

  constructor(capacity: number) {
    this.#bytes = Buffer.from(new ArrayBuffer(capacity));
  }

  /** The buffer, with room for `bytes` more from `length` on. */
  reserve(bytes: number): Buffer<ArrayBuffer> {
    if (this.length + bytes > this.#bytes.length) {
      const larger = Buffer.from(new ArrayBuffer(Math.max(this.#bytes.length * 2, this.length + bytes)));
      larger.set(this.#bytes.subarray(0, this.length));
      this.#bytes = larger;
    }
    return this.#bytes;
  }

  taken(): Uint8Array<ArrayBuffer> {
    return new Uint8Array(this.#bytes.buffer, this.#bytes.byteOffset, this.length);
  }
}

export class VerifiedBatch {
  readonly offsets: Uint32Array<ArrayBuffer>;
  readonly index: SharedEventIndex | undefined;
  readonly count: number;
  /** The batch's bytes. */
  readonly bytes: Buffer<ArrayBuffer>;
  readonly lengths: Uint32Array<ArrayBuffer>;
  readonly outcomes: Uint8Array<ArrayBuffer>;
  readonly eventKeys: Uint8Array<ArrayBuffer>;
  readonly positions: Int32Array<ArrayBuffer>;
  readonly records: Appender;
  readonly recordOffsets: Uint32Array<ArrayBuffer>;
  readonly authKeys: Appender;
  readonly authOffsets: Uint32Array<ArrayBuffer>;
  readonly #needs = new Map<string, KeyNeed>();
  readonly refusals: PduRefusal[] = [];
  readonly redacted: PduRefusal[] = [];
  readonly opaqueIds: (readonly [number, EventId])[] = [];
  signaturesVerified = 0;

  constructor(batch: PduBatch, index: SharedEventIndex | undefined) {
    const count = batch.offsets.length - 1;
    this.offsets = batch.offsets;
    this.index = index;
    this.count = count;
    this.bytes = Buffer.from(batch.bytes.buffer, batch.bytes.byteOffset, batch.bytes.length);
    this.lengths = new Uint32Array(count);
    this.outcomes = new Uint8Array(count);
    this.eventKeys = new Uint8Array(count * EVENT_KEY_BYTES);
    this.positions = new Int32Array(count).fill(-1);
    this.records = new Appender(count * RECORD_BYTES_GUESS);
    this.recordOffsets = new Uint32Array(count + 1);
    this.authKeys = new Appender(index === undefined ? count * AUTH_EVENTS_GUESS * EVENT_KEY_BYTES : 0);
    this.authOffsets = new Uint32Array(count + 1);
  }

  /** Where PDU i begins and ends in `bytes`. */
  start(i: number): number {
    return this.offsets[i] as number;
  }
  end(i: number): number {
    return this.offsets[i + 1] as number;
  }

  setEventKey(i: number, key: Uint8Array): void {
    this.eventKeys.set(key, i * EVENT_KEY_BYTES);
    if (this.index !== undefined) this.positions[i] = positionOf(this.index, this.eventKeys, i * EVENT_KEY_BYTES);
  }

  /** Leaves PDU i undecided for want of keys; each key is named once for the whole batch, valid for the newest event. */
  lack(i: number, needs: readonly KeyNeed[]): void {
    this.outcomes[i] = Outcome.missingKeys;
    this.lengths[i] = this.end(i) - this.start(i);
    for (const need of needs) {
      const name = `${need.server} ${need.keyId}`;
      const known = this.#needs.get(name);
      if (known === undefined || known.minimumValidUntilTs < need.minimumValidUntilTs) this.#needs.set(name, need);
    }
  }

  /** Says that the store has PDU i. */
  know(i: number, eventKey: Uint8Array): void {
    this.setEventKey(i, eventKey);
    this.outcomes[i] = Outcome.stored;
    this.lengths[i] = this.end(i) - this.start(i);
  }

  drop(i: number, eventId: EventId | undefined, code: string, reason: string): void {
    this.outcomes[i] = Outcome.dropped;
    this.refusals.push({ number: i, eventId, code, reason });
  }

  /** Says that PDU i is done: what was appended since the one before is its own. */
  close(i: number): void {
    this.recordOffsets[i + 1] = this.records.length;
    this.authOffsets[i + 1] = this.authKeys.length / EVENT_KEY_BYTES;
  }

  output(): VerifyPdusOutput {
    const { lengths, outcomes, eventKeys, positions, recordOffsets, authOffsets } = this;
    const needs = [...this.#needs.values()];
    const { refusals, redacted, opaqueIds, signaturesVerified } = this;
    const { offsets } = this;
    const bytes = new Uint8Array(this.bytes.buffer, this.bytes.byteOffset, this.bytes.length);
    const records = this.records.taken();
    const authKeys = this.authKeys.taken();
    return {
      bytes,
      offsets,
      lengths,
      outcomes,
      eventKeys,
      positions,
      records,
      recordOffsets,
      authKeys,
      authOffsets,
      needs,
      refusals,
      redacted,
      opaqueIds,
      signaturesVerified,
    };
  }
}
