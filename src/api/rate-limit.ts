/**
 * Token buckets: how often something may be asked for. One bucket is a few numbers; buckets by name are bounded, because
 * names come from the wire. Time is an argument.
 */

import { LRUCache } from 'lru-cache';

export interface RatePolicy {
  /** Tokens of a bucket that was left alone. */
  readonly burst: number;
  readonly perSecond: number;
}

export class TokenBucket {
  readonly #policy: RatePolicy;
  #tokens: number;
  #asOfMs: number;

  constructor(policy: RatePolicy, nowMs: number) {
    this.#policy = policy;
    this.#tokens = policy.burst;
    this.#asOfMs = nowMs;
  }

  /** Takes a token; false when there is none. */
  take(nowMs: number): boolean {
    const { burst, perSecond } = this.#policy;
    this.#tokens = Math.min(burst, this.#tokens + (Math.max(0, nowMs - this.#asOfMs) * perSecond) / 1000);
    this.#asOfMs = nowMs;
    if (this.#tokens < 1) return false;
    this.#tokens -= 1;
    return true;
  }
}

/** A bucket for each name; the longest unused is forgotten first, and is full when it comes again. */
export class RateLimits {
  readonly #policy: RatePolicy;
  readonly #buckets: LRUCache<string, TokenBucket>;

  constructor(policy: RatePolicy, namesMax: number) {
    this.#policy = policy;
    this.#buckets = new LRUCache({ maxSize: namesMax, sizeCalculation: () => 1 });
  }

  take(name: string, nowMs: number): boolean {
    let bucket = this.#buckets.get(name);
    if (bucket === undefined) {
      bucket = new TokenBucket(this.#policy, nowMs);
      this.#buckets.set(name, bucket);
    }
    return bucket.take(nowMs);
  }
}
