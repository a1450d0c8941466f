/**
 * Progress of building and of the stages of a join: a bar each on a terminal, plain lines elsewhere (one per stage that
 * begins or ends, and one every two seconds).
 */

import { MultiBar, type SingleBar } from 'cli-progress';
import type { StageFigures } from './admin-shapes.js';

const LINE_EVERY_MS = 2_000;

/** The names that a reader sees, by the admin API's. */
const TITLES: Readonly<Record<string, string>> = {
  room_usable: 'room usable',
  un_partial_stating: 'un-partial-stating',
};

export interface StageProgress {
  update(stages: readonly StageFigures[]): void;
  end(): void;
}

/** Shows stages as the admin API gives them. */
export function showStages(): StageProgress {
  return process.stdout.isTTY ? barProgress() : lineProgress();
}

function titleOf(stage: StageFigures): string {
  return TITLES[stage.name] ?? stage.name;
}

interface Pace {
  /** A second; 0 where the stage has not begun. */
  readonly rate: number;
  readonly bytesRate: number;
  /** Seconds; undefined where it cannot be told, as while the other server's list is still read. */
  readonly left: number | undefined;
}

function paceOf(stage: StageFigures, now: number): Pace {
  if (stage.started_ts === null) return { rate: 0, bytesRate: 0, left: undefined };
  const seconds = ((stage.ended_ts ?? now) - stage.started_ts) / 1000;
  const [rate, bytesRate] = seconds > 0 ? [stage.done / seconds, stage.bytes / seconds] : [0, 0];
  const isCounting = stage.status === 'running' && rate > 0 && stage.total > 0;
  return { rate, bytesRate, left: isCounting ? Math.max(0, (stage.total - stage.done) / rate) : undefined };
}

/** A stage in words, at a time in milliseconds. */
export function describeStage(stage: StageFigures, now = Date.now()): string {
  const { rate, bytesRate, left } = paceOf(stage, now);
  const parts: string[] = [];
  if (stage.total > 1) parts.push(`${stage.done}/${stage.total}`, `${Math.round(rate)}/s`);
  if (stage.bytes > 0) parts.push(`${(stage.bytes / 1e6).toFixed(1)} MB`);
  if (stage.bytes > 0 && stage.total <= 1) parts.push(`${(bytesRate / 1e6).toFixed(1)} MB/s`);
  if (left !== undefined) parts.push(`${Math.ceil(left)} s left`);
  if (stage.ended_ts !== null && stage.started_ts !== null) parts.push(`${stage.ended_ts - stage.started_ts} ms`);
  return parts.join(', ');
}

function barProgress(): StageProgress {
  const format = '{title} |{bar}| {words}';
  const bars = new MultiBar({ format, hideCursor: true, clearOnComplete: false, barsize: 30, stopOnComplete: false });
  const barByName = new Map<string, SingleBar>();
  return {
    update: (stages) => {
      for (const stage of stages) {
        const total = Math.max(1, stage.total);
        const done = stage.status === 'done' ? total : Math.min(stage.done, total);
        const payload = { title: titleOf(stage).padEnd(19), words: describeStage(stage) };
        const bar = barByName.get(stage.name);
        if (bar === undefined) barByName.set(stage.name, bars.create(total, done, payload));
        else {
          bar.setTotal(total);
          bar.update(done, payload);
        }
      }
    },
    end: () => bars.stop(),
  };
}

function lineProgress(): StageProgress {
  const statusByName = new Map<string, StageFigures['status']>();
  let lastLineAt = 0;
  return {
    update: (stages) => {
      let printed = false;
      for (const stage of stages) {
        if (stage.status === (statusByName.get(stage.name) ?? 'waiting')) continue;
        statusByName.set(stage.name, stage.status);
        const words = stage.status === 'done' ? `done  ${describeStage(stage)}` : 'begins';
        process.stdout.write(`${titleOf(stage).padEnd(19)} ${words}\n`);
        printed = true;
      }
      if (printed) lastLineAt = Date.now();
      if (Date.now() - lastLineAt < LINE_EVERY_MS) return;
      lastLineAt = Date.now();
      for (const stage of stages) {
        if (stage.status === 'running') process.stdout.write(`${titleOf(stage).padEnd(19)} ${describeStage(stage)}\n`);
      }
    },
    end: () => undefined,
  };
}

export interface BuildProgress {
  update(events: number): void;
  end(): void;
}

/** Shows how far the room is built; prints nothing until there is something to build. */
export function showBuild(total: number): BuildProgress {
  if (!process.stdout.isTTY) {
    let lastLineAt = Date.now();
    return {
      update: (events) => {
        if (Date.now() - lastLineAt < LINE_EVERY_MS) return;
        lastLineAt = Date.now();
        process.stdout.write(`building the room   ${events}/${total} events\n`);
      },
      end: () => undefined,
    };
  }
  const bars = new MultiBar({ format: '{title} |{bar}| {value}/{total}, {eta} s left', hideCursor: true, barsize: 30 });
  let bar: SingleBar | undefined;
  return {
    update: (events) => {
      bar ??= bars.create(total, 0, { title: 'building the room  ' });
      bar.update(events);
    },
    end: () => bars.stop(),
  };
}
