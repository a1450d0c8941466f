/**
 * A disk that is full for a while: of a server's store writes in that time some or all are undone whole, as LMDB undoes one that
 * it cannot commit, and whoever made them is told so.
 */

import { DiskError } from '../../../src/store/folder/store-error.js';
import type { Random } from '../../hq/room/plan/random.js';

/** How often one of the three servers has a full disk in its story. */
const FULL_DISK_SHARE = 0.3;
/** Longest time that it stays full, in milliseconds. */
const FULL_MS_MAX = 180_000;

export class Disk {
  readonly #random: Random;
  readonly #now: () => number;
  #fromTs = 0;
  #untilTs = 0;
  /** Probability that a write fails in that time: small ones find a free page now and then. */
  #share = 0;
  /** Writes that failed. */
  refused = 0;
  #spares = 0;

  constructor(random: Random, now: () => number) {
    this.#random = random;
    this.#now = now;
  }

  /** It may be full for a while within the next `storyMs`; says when, for the trace. */
  draw(storyMs: number): string | undefined {
    if (!this.#random.chance(FULL_DISK_SHARE)) return undefined;
    this.#fromTs = this.#now() + this.#random.below(storyMs);
    this.#untilTs = Math.min(this.#fromTs + this.#random.below(FULL_MS_MAX), this.#now() + storyMs);
    this.#share = this.#random.pick([0.3, 0.7, 1]);
    const [begins, ends] = [this.#fromTs, this.#untilTs].map((ts) => ((ts - this.#now()) / 1000).toFixed(0));
    return `its disk refuses ${100 * this.#share} % of writes from ${begins} to ${ends} s from now`;
  }

  /** Takes every write while something goes on that is not of the story. */
  async spare<T>(act: () => Promise<T>): Promise<T> {
    this.#spares += 1;
    try {
      return await act();
    } finally {
      this.#spares -= 1;
    }
  }

  /** Called in a transaction, before its end. Throws DiskError. */
  takeWrite(name: string): void {
    const now = this.#now();
    if (this.#spares > 0 || now < this.#fromTs || now >= this.#untilTs || !this.#random.chance(this.#share)) return;
    this.refused += 1;
    throw new DiskError(`cannot write to the store of ${name}: its disk is full`);
  }
}
