/**
 * Deterministic random numbers: one stream per label, so that a shard of the rehearsal room comes out the same on any
 * thread and in any order. The generator is sfc32 (public domain), seeded with a SHA-256; not for secrets.
 */

import { hash } from 'node:crypto';

export interface Random {
  /** In [0, 1). */
  next(): number;
  /** Integer in [0, below). */
  below(below: number): number;
  /** One of the items. */
  pick<T>(items: readonly T[]): T;
  /** True with this probability. */
  chance(probability: number): boolean;
}

/** Rounds until the state no longer shows the seed. */
const WARM_UP_ROUNDS = 15;

/** The stream of (seed, label). */
export function randomOf(seed: string, label: string): Random {
  const digest = hash('sha256', `${seed}\0${label}`, 'buffer');
  let a = digest.readInt32LE(0);
  let b = digest.readInt32LE(4);
  let c = digest.readInt32LE(8);
  let counter = digest.readInt32LE(12);
  const next = (): number => {
    const t = (((a + b) | 0) + counter) | 0;
    counter = (counter + 1) | 0;
    a = b ^ (b >>> 9);
    b = (c + (c << 3)) | 0;
    c = (c << 21) | (c >>> 11);
    c = (c + t) | 0;
    return (t >>> 0) / 2 ** 32;
  };
  for (let i = 0; i < WARM_UP_ROUNDS; i++) next();
  const below = (limit: number): number => Math.floor(next() * limit);
  return {
    next,
    below,
    pick: (items) => items[below(items.length)] as never,
    chance: (probability) => next() < probability,
  };
}
