/**
 * Many built events as a few buffers: what a shard's thread hands to the thread that writes the store.
 */

import type { BuiltEvent } from './build-event.js';

export interface EventPack {
  readonly nids: Uint32Array;
  /** 32 bytes each. */
  readonly keys: Uint8Array;
  readonly bodies: Uint8Array;
  /** `nids.length` + 1 offsets into `bodies`. */
  readonly bodyOffsets: Uint32Array;
  readonly records: Uint8Array;
  readonly recordOffsets: Uint32Array;
}

/** First size of a buffer in bytes; it doubles when full. */
const FIRST_BYTES = 64 * 1024;

class Growing {
  bytes = Buffer.allocUnsafeSlow(FIRST_BYTES);
  length = 0;
  readonly ends: number[] = [0];

  add(chunk: Uint8Array): void {
    while (this.length + chunk.length > this.bytes.length) {
      const larger = Buffer.allocUnsafeSlow(2 * this.bytes.length);
      larger.set(this.bytes.subarray(0, this.length));
      this.bytes = larger;
    }
    this.bytes.set(chunk, this.length);
    this.length += chunk.length;
    this.ends.push(this.length);
  }
}

/** Collects events; `pack` gives them as buffers of their own that can be moved between threads. */
export class EventPacker {
  readonly #nids: number[] = [];
  readonly #keys = new Growing();
  readonly #bodies = new Growing();
  readonly #records = new Growing();

  add(event: BuiltEvent): void {
    this.#nids.push(event.nid);
    this.#keys.add(event.key);
    this.#bodies.add(Buffer.from(event.text, 'utf8'));
    this.#records.add(event.record);
  }

  pack(): EventPack {
    return {
      nids: Uint32Array.from(this.#nids),
      keys: this.#keys.bytes.subarray(0, this.#keys.length),
      bodies: this.#bodies.bytes.subarray(0, this.#bodies.length),
      bodyOffsets: Uint32Array.from(this.#bodies.ends),
      records: this.#records.bytes.subarray(0, this.#records.length),
      recordOffsets: Uint32Array.from(this.#records.ends),
    };
  }
}

/** Events as a pack. */
export function packEvents(events: readonly BuiltEvent[]): EventPack {
  const packer = new EventPacker();
  for (const event of events) packer.add(event);
  return packer.pack();
}

/** The memory of a pack, to be moved and not copied. */
export function packBuffers(pack: EventPack): ArrayBuffer[] {
  return Object.values(pack).map((view: Uint8Array | Uint32Array) => view.buffer as ArrayBuffer);
}
