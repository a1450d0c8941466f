/**
 * PDUs on their way to a worker: their bytes one after another in one buffer that is transferred, not copied. The batcher
 * copies elements in as the splitter finds them and gives a batch out when it is full.
 */

/** Most PDUs in a batch: about 10 ms of signature checks, so that interactive work never waits longer. */
export const BATCH_PDUS_MAX = 96;
/** Bytes of a batch's buffer; a batch is full when the next PDU does not fit. Larger PDUs get a buffer of their own. */
export const BATCH_BYTES = 160 * 1024;
/** Buffers kept for re-use. */
const SPARE_BUFFERS_MAX = 16;

/** What crosses to a worker. */
export interface PduBatch {
  readonly bytes: Uint8Array<ArrayBuffer>;
  /** PDU i is bytes[offsets[i] .. offsets[i + 1]]; one more entry than PDUs. */
  readonly offsets: Uint32Array<ArrayBuffer>;
}

export class PduBatcher {
  readonly #onBatch: (batch: PduBatch) => void;
  readonly #spare: Uint8Array<ArrayBuffer>[] = [];
  #bytes: Uint8Array<ArrayBuffer> | undefined;
  #ends: number[] = [];
  #length = 0;

  constructor(onBatch: (batch: PduBatch) => void) {
    this.#onBatch = onBatch;
  }

  /** Adds a copy of one PDU's bytes. */
  add(pdu: Uint8Array): void {
    if (
      this.#ends.length >= BATCH_PDUS_MAX ||
      (this.#bytes !== undefined && this.#length + pdu.length > this.#bytes.length)
    ) {
      this.flush();
    }
    this.#bytes ??= this.#takeBuffer(pdu.length);
    this.#bytes.set(pdu, this.#length);
    this.#length += pdu.length;
    this.#ends.push(this.#length);
  }

  /** Gives out what is there. */
  flush(): void {
    const bytes = this.#bytes;
    if (bytes === undefined || this.#ends.length === 0) return;
    const offsets = new Uint32Array(this.#ends.length + 1);
    offsets.set(this.#ends, 1);
    this.#bytes = undefined;
    this.#ends = [];
    this.#length = 0;
    this.#onBatch({ bytes, offsets });
  }

  /** Takes back a buffer that came home from a worker. */
  recycle(bytes: Uint8Array<ArrayBuffer>): void {
    if (bytes.length === BATCH_BYTES && this.#spare.length < SPARE_BUFFERS_MAX) this.#spare.push(bytes);
  }

  #takeBuffer(bytesNeeded: number): Uint8Array<ArrayBuffer> {
    if (bytesNeeded > BATCH_BYTES) return new Uint8Array(bytesNeeded);
    return this.#spare.pop() ?? new Uint8Array(BATCH_BYTES);
  }
}

/** One batch of the given PDUs. */
export function batchOf(pdus: readonly Uint8Array[]): PduBatch {
  const offsets = new Uint32Array(pdus.length + 1);
  let length = 0;
  for (const [i, pdu] of pdus.entries()) {
    length += pdu.length;
    offsets[i + 1] = length;
  }
  const bytes = new Uint8Array(length);
  for (const [i, pdu] of pdus.entries()) bytes.set(pdu, offsets[i] as number);
  return { bytes, offsets };
}
