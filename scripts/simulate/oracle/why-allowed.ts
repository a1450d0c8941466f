/** Where the partial and the full join may hold different verdicts on one event, and why: the rule of the comparison. */

import type { Standing } from './read-room.js';

/**
 * It came `while-partial`, when nothing is soft-failed; it is a join of ours that a resident took (`own-join`), and whoever
 * hears of it later than of something else may soft-fail it; or it `rests-on` the current state that such events made.
 */
export type AllowedWhy = 'while-partial' | 'own-join' | 'rests-on';

/** One event, as the partial join and the full one have it, in this order. */
export interface TwoVerdicts {
  readonly standings: readonly [Standing, Standing];
  /** Whether each must soft-fail it, by the current state that it had come to. */
  readonly softFails: readonly [boolean, boolean];
  readonly whilePartial: boolean;
  readonly ownJoin: boolean;
  /** Whether the two have come to different verdicts before. */
  readonly differsBefore: boolean;
}

/** Why two verdicts that differ may do so; undefined where they must not. */
export function whyAllowed(verdicts: TwoVerdicts): AllowedWhy | undefined {
  const { standings, softFails, whilePartial, ownJoin, differsBefore } = verdicts;
  const [ours, theirs] = standings;
  const [weSoftFail, theySoftFail] = softFails;
  if (ours === 'accepted' && theirs === 'soft-failed' && theySoftFail) {
    if (whilePartial) return 'while-partial';
    if (ownJoin) return 'own-join';
    return differsBefore && !weSoftFail ? 'rests-on' : undefined;
  }
  const isReverse = ours === 'soft-failed' && theirs === 'accepted' && weSoftFail && !theySoftFail;
  return isReverse && differsBefore && !whilePartial ? 'rests-on' : undefined;
}
