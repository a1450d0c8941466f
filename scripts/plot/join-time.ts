/**
 * The plot of time against room size, from the JSON files of `npm run hq -- --json`: ours with partial state, ours in full,
 * and what libsodium alone needs for the same signatures on as many threads in the same run.
 */

import { type Plot, PlotError, type Point, type Series } from './svg-plot.js';

/** What is read of a report, see scripts/hq/measure/report.ts. */
export interface RunReport {
  readonly events: number;
  readonly mode: 'partial' | 'full';
  readonly room_version: string;
  readonly threads: number;
  readonly join_ms: number;
  readonly resync_ms: number;
  readonly verify_only_events_per_s: number;
  readonly state_matches: boolean;
  readonly refusals_match: boolean;
  readonly node: string;
  readonly cpu: string;
  readonly cores: number;
}

/** A report, checked. `name`: of its file. Throws PlotError. */
export function readReport(name: string, text: string): RunReport {
  const json = JSON.parse(text) as Readonly<Record<string, unknown>>;
  for (const key of ['events', 'threads', 'join_ms', 'resync_ms', 'verify_only_events_per_s', 'cores']) {
    if (typeof json[key] !== 'number') throw new PlotError(`${name}: ${key} is not a number`);
  }
  for (const key of ['room_version', 'node', 'cpu']) {
    if (typeof json[key] !== 'string') throw new PlotError(`${name}: ${key} is not a string`);
  }
  if (json.mode !== 'partial' && json.mode !== 'full') throw new PlotError(`${name}: mode is neither partial nor full`);
  if (json.state_matches !== true || json.refusals_match !== true) {
    throw new PlotError(`${name}: the run ended with the wrong room; its times mean nothing`);
  }
  return json as unknown as RunReport;
}

/** The plot. Throws PlotError when the runs cannot be laid beside each other. */
export function joinTimePlot(reports: readonly RunReport[]): Plot {
  const [first] = reports;
  if (first === undefined) throw new PlotError('there are no runs: npm run plot -- --measure makes them');
  const circumstances = new Set(reports.map(circumstancesOf));
  if (circumstances.size > 1) throw new PlotError(`the runs differ: ${[...circumstances].sort().join(' / ')}`);
  const runs = new Set(reports.map(({ events, mode }) => `${mode} run of ${events} events`));
  if (runs.size < reports.length) throw new PlotError('there are two runs of one mode and size');
  const partial = reports.filter(({ mode }) => mode === 'partial');
  const full = reports.filter(({ mode }) => mode === 'full');
  return {
    title: 'Joining a room, by its size',
    subtitle: circumstancesOf(first),
    xLabel: 'events of the room (state and auth chain)',
    yLabel: 'seconds',
    series: [
      seriesOf('partial: join call answered', partial, ({ join_ms }) => join_ms),
      seriesOf('partial: full state, verified and judged', partial, ({ join_ms, resync_ms }) => join_ms + resync_ms),
      seriesOf('full: join call answered', full, ({ join_ms }) => join_ms),
      seriesOf("limit: libsodium alone, the room's signatures", partial, (report) => {
        return (1000 * report.events) / report.verify_only_events_per_s;
      }),
    ].filter(({ points }) => points.length > 0),
  };
}

function circumstancesOf({ room_version, threads, node, cpu, cores }: RunReport): string {
  return `room version ${room_version}, ${threads} threads on ${cores} cores (${cpu}, Node ${node})`;
}

function seriesOf(name: string, reports: readonly RunReport[], msOf: (report: RunReport) => number): Series {
  const points = reports.map((report): Point => {
    const y = msOf(report) / 1000;
    return { x: report.events, y, title: `${report.events.toLocaleString('en-US')} events: ${y.toFixed(2)} s` };
  });
  return { name, points };
}
