/** The rule by which the simulator's oracle allows two joins to differ on an event. */

import { describe, expect, it } from 'vitest';
import type { TwoVerdicts } from '../../scripts/simulate/oracle/why-allowed.js';
import { whyAllowed } from '../../scripts/simulate/oracle/why-allowed.js';

/** Accepted here, soft-failed by the full join as its state has it, when the state here was full. */
const EVENT: TwoVerdicts = {
  standings: ['accepted', 'soft-failed'],
  softFails: [false, true],
  whilePartial: false,
  ownJoin: false,
  differsBefore: false,
};
const REVERSE: TwoVerdicts = { ...EVENT, standings: ['soft-failed', 'accepted'], softFails: [true, false] };

describe('a difference between a partial and a full join', () => {
  it('is allowed where the event came while the state was partial, or is our own join', () => {
    expect(whyAllowed({ ...EVENT, whilePartial: true })).toBe('while-partial');
    expect(whyAllowed({ ...EVENT, ownJoin: true, softFails: [true, true] })).toBe('own-join');
  });

  it('is allowed, both ways, where both verdicts follow from what each had accepted', () => {
    expect(whyAllowed({ ...EVENT, differsBefore: true })).toBe('rests-on');
    expect(whyAllowed({ ...REVERSE, differsBefore: true })).toBe('rests-on');
  });

  it.each<[string, TwoVerdicts]>([
    ['nothing differed before', EVENT],
    ['nothing differed before, the other way round', REVERSE],
    ['what was accepted here must be soft-failed', { ...EVENT, differsBefore: true, softFails: [true, true] }],
    ['the full join soft-failed what it must not', { ...EVENT, whilePartial: true, softFails: [false, false] }],
    ['the full join accepted what it must not', { ...REVERSE, differsBefore: true, softFails: [true, true] }],
    ['what was soft-failed here must not be', { ...REVERSE, differsBefore: true, softFails: [false, false] }],
    ['something was soft-failed while partial', { ...REVERSE, differsBefore: true, whilePartial: true }],
    ['one rejects the event', { ...EVENT, standings: ['accepted', 'rejected'], whilePartial: true }],
    ['the other one rejects it', { ...EVENT, standings: ['rejected', 'soft-failed'], whilePartial: true }],
    ['one never judged it', { ...EVENT, standings: ['not judged', 'soft-failed'], whilePartial: true }],
  ])('is none where %s', (_title, verdicts) => {
    expect(whyAllowed(verdicts)).toBeUndefined();
  });
});
