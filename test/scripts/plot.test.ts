/** The plot of time against room size: the same runs give the same text, every point has its place, bad runs are refused. */

import { hash } from 'node:crypto';
import { describe, expect, it } from 'vitest';
import { joinTimePlot, type RunReport, readReport } from '../../scripts/plot/join-time.js';
import { resultFile, seriesRuns } from '../../scripts/plot/run-series.js';
import { PlotError, svgPlot } from '../../scripts/plot/svg-plot.js';

const RUN: RunReport = {
  events: 1_000,
  mode: 'partial',
  room_version: '11',
  threads: 2,
  join_ms: 100,
  resync_ms: 900,
  verify_only_events_per_s: 10_000,
  state_matches: true,
  refusals_match: true,
  node: 'v20.0.0',
  cpu: 'a <fast> "one"',
  cores: 2,
};
const RUNS: readonly RunReport[] = [
  RUN,
  { ...RUN, events: 10_000, resync_ms: 9_900 },
  { ...RUN, events: 100_000, join_ms: 1_000, resync_ms: 99_000 },
  { ...RUN, mode: 'full', join_ms: 2_000, resync_ms: 5 },
];

/** Text content and attributes with their quotes, tags balanced: enough of XML for what is written here. */
function unbalanced(svg: string): string[] {
  const open: string[] = [];
  for (const [, end, name, own] of svg.matchAll(/<(\/?)([a-z]+)(?:\s[^<>]*?)?(\/?)>/g)) {
    if (own === '/') continue;
    if (end === '') open.push(name!);
    else if (open.pop() !== name) return [`</${name}>`];
  }
  return open;
}

describe('the plot of time against room size', () => {
  it('is the same text for the same runs, in whichever order they are read', () => {
    const svg = svgPlot(joinTimePlot(RUNS));
    expect(svgPlot(joinTimePlot([...RUNS].reverse()))).toBe(svg);
    expect(unbalanced(svg)).toEqual([]);
    expect(svg).toContain('a &#60;fast&#62; &#34;one&#34;');
    expect(svg).toContain('prefers-color-scheme:dark');
    expect(hash('sha256', svg).slice(0, 12)).toBe('5a7899be5731');
  });

  it('has a line for each of the four series, and a point for each run', () => {
    const { series } = joinTimePlot(RUNS);
    expect(series.map(({ points }) => points.map(({ x, y }) => [x, y]))).toEqual([
      [
        [1_000, 0.1],
        [10_000, 0.1],
        [100_000, 1],
      ],
      [
        [1_000, 1],
        [10_000, 10],
        [100_000, 100],
      ],
      [[1_000, 2]],
      [
        [1_000, 0.1],
        [10_000, 1],
        [100_000, 10],
      ],
    ]);
    // A legend's sample and the line itself for each.
    expect(svgPlot(joinTimePlot(RUNS)).match(/<polyline /g)?.length).toBe(8);
  });

  it('places points by the logarithms of their values', () => {
    const svg = svgPlot(joinTimePlot(RUNS));
    // 1,000 to 100,000 events and 0.1 to 100 s: ten times as much is half the width and a third of the height.
    expect(svg).toContain('points="76,456 396,456 716,342.7"');
    expect(svg).toContain('points="76,342.7 396,229.3 716,116"');
  });

  it('draws a single run', () => {
    expect(unbalanced(svgPlot(joinTimePlot([RUN])))).toEqual([]);
  });

  it('refuses runs of which nothing can be said', () => {
    expect(() => joinTimePlot([])).toThrow(PlotError);
    expect(() => joinTimePlot([RUN, RUN])).toThrow('two runs');
    expect(() => joinTimePlot([RUN, { ...RUN, events: 5, node: 'v22.0.0' }])).toThrow('differ');
    expect(() => svgPlot(joinTimePlot([{ ...RUN, join_ms: 0 }]))).toThrow('logarithmic');
    expect(readReport('a.json', JSON.stringify(RUN))).toEqual(RUN);
    expect(() => readReport('a.json', JSON.stringify({ ...RUN, state_matches: false }))).toThrow('wrong room');
    expect(() => readReport('a.json', JSON.stringify({ ...RUN, join_ms: undefined }))).toThrow('a.json: join_ms');
  });
});

describe('the series of runs', () => {
  it('has a partial run of each size and a full one of all but the largest', () => {
    const runs = seriesRuns([2_000, 206_479, 1_000_000]).map(resultFile);
    expect(runs).toEqual([
      'partial-2000.json',
      'full-2000.json',
      'partial-206479.json',
      'full-206479.json',
      'partial-1000000.json',
    ]);
  });
});
