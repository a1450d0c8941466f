/**
 * Named points at which a test run ends the process as `kill -9` does, to prove that it goes on from there when it is
 * started again. Off unless the environment variable JOINERY_CRASH_AT names a point when the server starts; what is left
 * then is one comparison with `undefined` at places that also write to disk or answer a request. Never set it in production.
 *
 * Points, each after what it names has happened:
 * - `idle-write:K`, `join-write:K`, `resync-write:K`, `completion-write:K`: the K-th write of the store, counted from the start
 *   of the server, of a join, of a resync, of its last stage;
 * - `idle-queued:K` and so on: the K-th background write was handed to lmdb and is not committed;
 * - `stage:NAME:running`, `stage:NAME:done`: a stage of room-progress.ts begins or ends;
 * - `answer:METHOD PATH`: a request is done, all of it is on disk, and its answer is not sent (PATH as routed);
 * - `half-sent:PATH`: half of a long answer is sent.
 *
 * The line `crash point POINT reached` on the standard error, written before the process dies, proves that it was there.
 * With JOINERY_CRASH_AT=trace nothing dies: each point says `crash point POINT passed` the first time.
 */

import { writeSync } from 'node:fs';

/** Says which points there are instead of dying at one. */
const TRACE = 'trace';
const STDERR = 2;

type Phase = 'idle' | 'join' | 'resync' | 'completion';

/** Stages whose beginning starts a count of its own. */
const PHASES: ReadonlyMap<string, Phase> = new Map([
  ['make_join', 'join'],
  ['state_ids', 'resync'],
  ['un_partial_stating', 'completion'],
]);

class CrashPoints {
  readonly #at: string;
  readonly #passed = new Set<string>();
  #phase: Phase = 'idle';
  #writes = 0;
  #queued = 0;

  constructor(at: string) {
    this.#at = at;
  }

  passStage(name: string, status: string): void {
    const phase = status === 'running' ? PHASES.get(name) : undefined;
    if (phase !== undefined && phase !== this.#phase) {
      this.#phase = phase;
      this.#writes = 0;
      this.#queued = 0;
    }
    this.pass(`stage:${name}:${status}`);
  }

  passWrite(): void {
    this.#writes += 1;
    this.pass(`${this.#phase}-write:${this.#writes}`);
  }

  passQueued(): void {
    this.#queued += 1;
    this.pass(`${this.#phase}-queued:${this.#queued}`);
  }

  pass(point: string): void {
    if (point === this.#at) {
      writeSync(STDERR, `crash point ${point} reached\n`);
      process.kill(process.pid, 'SIGKILL');
    }
    if (this.#at !== TRACE || this.#passed.has(point)) return;
    this.#passed.add(point);
    writeSync(STDERR, `crash point ${point} passed\n`);
  }
}

let points: CrashPoints | undefined;

/** Reads the environment. To be called when the server is up: what it does before, such as its self-test, is not counted. */
export function armCrashPoints(): void {
  const at = process.env.JOINERY_CRASH_AT;
  points = at === undefined || at === '' ? undefined : new CrashPoints(at);
}

/** A write of the store has been committed. */
export function crashAfterWrite(): void {
  points?.passWrite();
}

/** A background write was handed over. */
export function crashAfterQueued(): void {
  points?.passQueued();
}

/** A stage of a join or resync has changed. */
export function crashAtStage(name: string, status: string): void {
  points?.passStage(name, status);
}

/** A request has been served, and not answered. */
export function crashBeforeAnswer(method: string, path: string): void {
  points?.pass(`answer:${method} ${path}`);
}

/** Half of an answer has been sent. */
export function crashHalfSent(path: string): void {
  points?.pass(`half-sent:${path}`);
}

/** Whether points are watched at all. */
export function watchesCrashPoints(): boolean {
  return points !== undefined;
}
