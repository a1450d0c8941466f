/**
 * When to try again what has failed `failures` times: exponential, jittered so that many do not return together, and
 * bounded so that nobody is given up for good. Pure: the random number is an argument.
 * Specification v1.19, server-server API, "Transactions" ("exponential back-off").
 */

export interface BackOffPolicy {
  /** Wait after the first failure, in milliseconds. */
  readonly firstMs: number;
  /** Longest wait, in milliseconds. */
  readonly maxMs: number;
  /** Each wait is this many times the one before. */
  readonly factor: number;
}

/** Destinations: a restart of the other side is missed by seconds, one that is gone for good costs 24 tries a day. */
export const DESTINATION_BACK_OFF: BackOffPolicy = { firstMs: 2_000, maxMs: 60 * 60 * 1000, factor: 2 };

/**
 * Milliseconds to wait after `failures` (>= 1) failures. `random` is in [0, 1): the wait is 75 % to 125 % of its step,
 * never above `maxMs`.
 */
export function backOffMs(policy: BackOffPolicy, failures: number, random: number): number {
  const step = Math.min(policy.maxMs, policy.firstMs * policy.factor ** Math.max(0, failures - 1));
  return Math.min(policy.maxMs, Math.round(step * (0.75 + random / 2)));
}

/**
 * When to try next, in milliseconds since 1970. What the other side asked for (`retryAfterMs`) is respected where it is
 * longer than our own wait, up to `maxMs`.
 */
export function nextTryTs(
  policy: BackOffPolicy,
  failures: number,
  now: number,
  random: number,
  retryAfterMs = 0,
): number {
  return now + Math.max(backOffMs(policy, failures, random), Math.min(retryAfterMs, policy.maxMs));
}
