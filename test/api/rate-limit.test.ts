import { describe, expect, it } from 'vitest';
import { RateLimits, TokenBucket } from '../../src/api/rate-limit.js';

describe('a rate limit', () => {
  it('lets a burst through, then as many as its rate allows', () => {
    const bucket = new TokenBucket({ burst: 3, perSecond: 2 }, 0);
    const taken = (now: number, count: number) => Array.from({ length: count }, () => bucket.take(now));
    expect(taken(0, 4)).toEqual([true, true, true, false]);
    expect(taken(499, 1)).toEqual([false]);
    expect(taken(500, 2)).toEqual([true, false]);
    expect(taken(60_000, 4)).toEqual([true, true, true, false]);
    // A clock that is set back gives nothing away.
    expect(taken(0, 1)).toEqual([false]);
  });

  it('counts names apart and remembers a limited number of them', () => {
    const limits = new RateLimits({ burst: 1, perSecond: 0 }, 2);
    expect(['a', 'a', 'b', 'b'].map((name) => limits.take(name, 0))).toEqual([true, false, true, false]);
    expect(['c', 'b', 'a'].map((name) => limits.take(name, 0))).toEqual([true, false, true]);
  });
});
