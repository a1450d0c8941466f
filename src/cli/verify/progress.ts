/** The progress bar of `joinery verify`, on standard error and only where that is a terminal. */

import { SingleBar } from 'cli-progress';
import type { CommandStreams } from '../streams/command-streams.js';

/** Redraws a second. */
const REDRAWS_PER_S = 10;
const MB = 1e6;

export interface Progress {
  update(bytesRead: number, pdus: number, bad: number): void;
  end(): void;
}

const NO_PROGRESS: Progress = { update: () => undefined, end: () => undefined };

/** A bar of the bytes read; only figures where their total is not known. */
export function showProgress(stream: CommandStreams['errors'], bytesTotal: number | undefined): Progress {
  if (stream.isTTY !== true) return NO_PROGRESS;
  const bar = new SingleBar({
    format: `${bytesTotal === undefined ? '' : '|{bar}| {percentage} % of '}{megabytes} MB, {pdus} PDUs, {bad} bad, {rate}/s`,
    // The library asks for a stream of a terminal; ours has just said that it is one.
    stream: stream as NodeJS.WriteStream,
    barsize: 30,
    fps: REDRAWS_PER_S,
    hideCursor: false,
  });
  const startedAt = performance.now();
  const payload = (bytes: number, pdus: number, bad: number) => {
    const seconds = (performance.now() - startedAt) / 1000;
    return { megabytes: (bytes / MB).toFixed(1), pdus, bad, rate: seconds > 0 ? Math.round(pdus / seconds) : 0 };
  };
  const total = bytesTotal ?? 0;
  bar.start(total, 0, payload(total, 0, 0));
  return {
    update: (bytesRead, pdus, bad) => bar.update(bytesRead, payload(bytesTotal ?? bytesRead, pdus, bad)),
    end: () => bar.stop(),
  };
}
