/**
 * Splits a stream of bytes into lines and the lines into batches for threads. Whoever reads the batches sets the pace: no
 * byte is read ahead of the batch that is asked for, so that memory does not depend on the size of the file.
 */

import type { PduBatch } from '../../workers/pdu-batch.js';
import { PduBatcher } from '../../workers/pdu-batch.js';

/**
 * Longest line in bytes: eight times the largest event, for `unsigned`, escapes and white space. Of a longer one the first
 * LINE_BYTES_MAX + 1 bytes are kept, by which it is known.
 */
export const LINE_BYTES_MAX = 512 * 1024;

const NEWLINE = 0x0a;

export interface LineBatch extends PduBatch {
  /** Number of the batch's first line in the file, from 1. */
  readonly firstLine: number;
  /** Bytes of the file read when the batch was full: for progress. */
  readonly bytesRead: number;
}

export class LineBatches {
  readonly #batcher = new PduBatcher((batch) => this.#close(batch));
  #ready: LineBatch[] = [];
  #nextLine = 1;
  #bytesRead = 0;
  /** The begin of a line whose end has not come yet, cut off at the limit. */
  #carried: Buffer[] = [];
  #carriedBytes = 0;

  /** Takes back the buffer of a batch that is done with. */
  recycle(bytes: Uint8Array<ArrayBuffer>): void {
    this.#batcher.recycle(bytes);
  }

  /** All lines in order; the last one may lack its newline. */
  async *read(chunks: AsyncIterable<Buffer>): AsyncGenerator<LineBatch> {
    for await (const chunk of chunks) {
      this.#bytesRead += chunk.length;
      let start = 0;
      for (let end = chunk.indexOf(NEWLINE); end >= 0; end = chunk.indexOf(NEWLINE, start)) {
        this.#carry(chunk.subarray(start, end));
        this.#endLine();
        start = end + 1;
        if (this.#ready.length > 0) yield* this.#takeReady();
      }
      // A copy, because the line may outlive its chunk many times.
      this.#carry(Buffer.from(chunk.subarray(start)));
    }
    if (this.#carriedBytes > 0) this.#endLine();
    this.#batcher.flush();
    yield* this.#takeReady();
  }

  #carry(bytes: Buffer): void {
    const taken = bytes.subarray(0, LINE_BYTES_MAX + 1 - this.#carriedBytes);
    if (taken.length === 0) return;
    this.#carried.push(taken);
    this.#carriedBytes += taken.length;
  }

  #endLine(): void {
    const { length } = this.#carried;
    this.#batcher.add(length === 1 ? (this.#carried[0] as Buffer) : Buffer.concat(this.#carried));
    this.#carried = [];
    this.#carriedBytes = 0;
  }

  #close(batch: PduBatch): void {
    this.#ready.push({ ...batch, firstLine: this.#nextLine, bytesRead: this.#bytesRead });
    this.#nextLine += batch.offsets.length - 1;
  }

  #takeReady(): LineBatch[] {
    const ready = this.#ready;
    this.#ready = [];
    return ready;
  }
}
