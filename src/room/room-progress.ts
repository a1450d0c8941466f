/**
 * How far joining and resynchronising a room has come, for operators: one entry a stage, totals from `state_ids`, counts
 * of what is stored and not of what was sent. Lives in memory; what must survive a restart is in the store.
 */

import { crashAtStage } from '../store/crash/crash-points.js';

/** Stages in their order. */
export const STAGES = [
  'make_join',
  'send_join',
  'room_usable',
  'state_ids',
  'fetching',
  'verifying',
  'authorising',
  'storing',
  'un_partial_stating',
] as const;
export type StageName = (typeof STAGES)[number];

export interface Stage {
  readonly name: StageName;
  status: 'waiting' | 'running' | 'done' | 'failed';
  done: number;
  /** 0 while it is not known. */
  total: number;
  bytes: number;
  startedTs: number;
  endedTs: number;
}

export class RoomProgress {
  readonly stages: readonly Stage[] = STAGES.map((name) => ({
    name,
    status: 'waiting',
    done: 0,
    total: 0,
    bytes: 0,
    startedTs: 0,
    endedTs: 0,
  }));
  readonly #clock: () => number;
  /** The server that is being asked. */
  server: string | undefined;
  /** Why the last round failed; also where a full disk keeps it from being stored. */
  failure: string | undefined;
  sendJoinBytes = 0;
  resyncBytes = 0;
  verifiedSignatures = 0;
  storedEvents = 0;
  /** Events that came though they were stored before, and their bytes. */
  repeatedEvents = 0;
  repeatedBytes = 0;
  rejectedEvents = 0;
  droppedEvents = 0;
  redactedEvents = 0;

  constructor(clock: () => number) {
    this.#clock = clock;
  }

  stage(name: StageName): Stage {
    return this.stages[STAGES.indexOf(name)] as Stage;
  }

  start(name: StageName, total = 0): Stage {
    const stage = this.stage(name);
    Object.assign(stage, { status: 'running', done: 0, total, bytes: 0, startedTs: this.#clock(), endedTs: 0 });
    crashAtStage(name, 'running');
    return stage;
  }

  end(name: StageName): void {
    const stage = this.stage(name);
    stage.status = 'done';
    stage.endedTs = this.#clock();
    if (stage.total === 0) stage.total = stage.done;
    crashAtStage(name, 'done');
  }

  /** Of all that came and was done: it changes with each. */
  get sum(): number {
    return this.stages.reduce((sum, { done, bytes, startedTs }) => sum + done + bytes + startedTs, 0);
  }

  /** An attempt begins; what an earlier one left unfinished waits again. */
  begin(server: string): void {
    this.server = server;
    for (const stage of this.stages) if (stage.status === 'failed') stage.status = 'waiting';
  }

  /** The attempt failed: its stages end where they stand. */
  fail(): void {
    for (const stage of this.stages) {
      if (stage.status !== 'running') continue;
      stage.status = 'failed';
      stage.endedTs = this.#clock();
    }
  }

  /** The stage that runs, or where the last attempt failed, or the last that ended. */
  get current(): Stage {
    const last = (status: Stage['status']) => this.stages.findLast((stage) => stage.status === status);
    return last('running') ?? last('failed') ?? last('done') ?? (this.stages[0] as Stage);
  }
}
