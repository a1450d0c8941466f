/** The runs that the plot is made of, one after the other: `npm run hq` at each size, its JSON file kept as it was written. */

import { spawn } from 'node:child_process';
import { mkdir, rename } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { HQ_EVENTS } from '../hq/room/plan/room-shape.js';

const HQ = fileURLToPath(new URL('../hq/hq.js', import.meta.url));

/** The least that the rehearsal room has, two between, and what issue C asks for. */
export const SERIES_EVENTS: readonly number[] = [2_000, 20_000, HQ_EVENTS, 1_000_000];
/** A full join holds its user for as long as it takes; beyond this it says nothing new. */
const FULL_EVENTS_MAX = HQ_EVENTS;

export interface SeriesRun {
  readonly events: number;
  readonly full: boolean;
}

/** The runs of some sizes: partial at each, full where it is not too large. */
export function seriesRuns(sizes: readonly number[]): SeriesRun[] {
  return sizes.flatMap((events) => {
    const partial = { events, full: false };
    return events > FULL_EVENTS_MAX ? [partial] : [partial, { events, full: true }];
  });
}

export function resultFile({ events, full }: SeriesRun): string {
  return `${full ? 'full' : 'partial'}-${events}.json`;
}

/** Makes one run and puts its report into `dir`. Throws when the run fails: what is not right is not plotted. */
export async function runOne(run: SeriesRun, dir: string): Promise<void> {
  await mkdir(dir, { recursive: true });
  const file = join(dir, resultFile(run));
  const unfinished = `${file}.unfinished`;
  const args = [HQ, '--events', String(run.events), '--json', unfinished, ...(run.full ? ['--full'] : [])];
  const child = spawn(process.execPath, args, { stdio: 'inherit' });
  const how = await new Promise<string>((resolve, reject) => {
    child.once('error', reject);
    child.once('exit', (code, signal) => resolve(signal ?? `exit code ${code}`));
  });
  if (how !== 'exit code 0') throw new Error(`the run for ${resultFile(run)} ended with ${how}`);
  await rename(unfinished, file);
}
