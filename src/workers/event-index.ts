/**
 * The events of one resync by event key: an open-addressing hash table in shared memory, filled by the main thread while
 * `state_ids` streams and read by every worker, so that a worker turns auth events into NIDs without asking anybody.
 *
 * An event's place in the list is its position (from 0). Memory: 32 bytes of key, 4 of NID, and 8 of slots a position.
 */

import { EVENT_KEY_BYTES } from '../kernel/matrix/event-key.js';

const KEY_WORDS = EVENT_KEY_BYTES / 4;
/** Most events of one room's state and auth chain: 21 bits of position sort beside 32 bits of key in one double. */
export const INDEXED_EVENTS_MAX = 2 ** 21;

/** What crosses to a worker. */
export interface SharedEventIndex {
  /** 8 words a position, as read from the key little-endian. */
  readonly keys: Uint32Array;
  /** Position + 1, or 0; a power of two long, at most half full. */
  readonly slots: Uint32Array;
  /** NID by position. */
  readonly nids: Uint32Array;
  /** Secret of this resync, so that nobody can choose keys that share a slot. */
  readonly seed: number;
}

function slotOf(index: SharedEventIndex, word0: number, word1: number): number {
  const mixed = Math.imul(word0 ^ index.seed, 0x9e3779b1) ^ Math.imul(word1 + index.seed, 0x85ebca6b);
  return (mixed ^ (mixed >>> 15)) & (index.slots.length - 1);
}

const words = new Uint32Array(KEY_WORDS);
const wordBytes = new Uint8Array(words.buffer);

/** The position of a key (32 bytes at `at`), or -1. */
export function positionOf(index: SharedEventIndex, bytes: Uint8Array, at: number): number {
  for (let i = 0; i < EVENT_KEY_BYTES; i++) wordBytes[i] = bytes[at + i] as number;
  return findSlot(index) > 0 ? foundPosition : -1;
}

let foundPosition = -1;
let freeSlot = -1;

/** Looks `words` up: sets foundPosition and returns 1, or sets freeSlot and returns 0. */
function findSlot(index: SharedEventIndex): 0 | 1 {
  const { keys, slots } = index;
  const mask = slots.length - 1;
  for (let slot = slotOf(index, words[0] as number, words[1] as number); ; slot = (slot + 1) & mask) {
    const entry = slots[slot] as number;
    if (entry === 0) {
      freeSlot = slot;
      return 0;
    }
    const base = (entry - 1) * KEY_WORDS;
    let i = 0;
    while (i < KEY_WORDS && keys[base + i] === words[i]) i += 1;
    if (i === KEY_WORDS) {
      foundPosition = entry - 1;
      return 1;
    }
  }
}

/** Builds an index of unknown size; `finish` gives what workers read. */
export class EventIndexBuilder {
  #index: SharedEventIndex;
  #count = 0;

  constructor(seed: number, expected = 1024) {
    this.#index = emptyIndex(seed, expected);
  }

  get count(): number {
    return this.#count;
  }

  /** The position of a key, added where it is new. Throws RangeError beyond INDEXED_EVENTS_MAX. */
  add(key: Uint8Array): number {
    for (let i = 0; i < EVENT_KEY_BYTES; i++) wordBytes[i] = key[i] as number;
    if (findSlot(this.#index) > 0) return foundPosition;
    if (this.#count * KEY_WORDS === this.#index.keys.length) {
      const saved = words.slice();
      this.#grow();
      words.set(saved);
      findSlot(this.#index);
    }
    const position = this.#count++;
    this.#index.keys.set(words, position * KEY_WORDS);
    this.#index.slots[freeSlot] = position + 1;
    return position;
  }

  #grow(): void {
    if (this.#count >= INDEXED_EVENTS_MAX) throw new RangeError(`more than ${INDEXED_EVENTS_MAX} events in one state`);
    const old = this.#index;
    this.#index = emptyIndex(old.seed, this.#count * 2);
    this.#index.keys.set(old.keys);
    for (let position = 0; position < this.#count; position++) {
      words.set(old.keys.subarray(position * KEY_WORDS, (position + 1) * KEY_WORDS));
      findSlot(this.#index);
      this.#index.slots[freeSlot] = position + 1;
    }
  }

  finish(): SharedEventIndex {
    return this.#index;
  }
}

function emptyIndex(seed: number, expected: number): SharedEventIndex {
  let capacity = 1024;
  while (capacity < expected) capacity *= 2;
  return {
    keys: new Uint32Array(new SharedArrayBuffer(capacity * EVENT_KEY_BYTES)),
    slots: new Uint32Array(new SharedArrayBuffer(capacity * 2 * 4)),
    nids: new Uint32Array(new SharedArrayBuffer(capacity * 4)),
    seed,
  };
}

/** The key at a position: a copy of 32 bytes. */
export function keyAt(index: SharedEventIndex, position: number): Buffer {
  const at = position * KEY_WORDS;
  return Buffer.from(new Uint8Array(index.keys.slice(at, at + KEY_WORDS).buffer));
}
