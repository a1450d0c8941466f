import { describe, expect, it } from 'vitest';
import type { StageFigures } from '../../scripts/hq/admin-shapes.js';
import { describeStage } from '../../scripts/hq/show-progress.js';

function stage(figures: Partial<StageFigures>): StageFigures {
  return {
    name: 'fetching',
    status: 'running',
    done: 0,
    total: 0,
    bytes: 0,
    started_ts: 1000,
    ended_ts: null,
    ...figures,
  };
}

describe('a stage in words', () => {
  it('says how much is done of how much, how fast, and how long it will take', () => {
    expect(describeStage(stage({ done: 500, total: 2000, bytes: 1_500_000 }), 2000)).toBe(
      '500/2000, 500/s, 1.5 MB, 3 s left',
    );
  });

  it('promises no end where nobody knows how much there is, and says how fast bytes come', () => {
    expect(describeStage(stage({ bytes: 4_000_000 }), 3000)).toBe('4.0 MB, 2.0 MB/s');
  });

  it('says how long it took when it is done', () => {
    expect(describeStage(stage({ status: 'done', done: 10, total: 10, ended_ts: 3000 }), 9000)).toBe(
      '10/10, 5/s, 2000 ms',
    );
  });
});
