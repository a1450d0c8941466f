/**
 * The floor under every figure of the resync: the same signatures, verified by libsodium alone on as many threads.
 * Cannot show what memory bandwidth or a busy machine cost: run it, as the harness does, when nothing else runs.
 */

import { Worker } from 'node:worker_threads';
import { storePath } from '../../../src/store/open-store.js';
import type { Manifest } from '../room/manifest.js';
import type { VerifyOnlyAnswer, VerifyOnlyRange } from './verify-only-thread.js';

/** The median of so many rounds counts. */
const ROUNDS = 3;

export interface VerifyOnlyFigures {
  readonly signatures: number;
  /** CPU per signature, in microseconds. */
  readonly verify_us_per_signature: number;
  readonly verify_only_events_per_s: number;
}

/** Verifies the signatures of all events in the resident's data folder; nobody else may have it open for writing. */
export async function verifyOnly(dataDir: string, manifest: Manifest, threads: number): Promise<VerifyOnlyFigures> {
  const workers = Array.from({ length: threads }, (_, i) => {
    const before = Math.floor((manifest.events * i) / threads);
    const range: VerifyOnlyRange = {
      storePath: storePath(dataDir),
      seed: manifest.seed,
      roomVersion: manifest.room_version,
      firstNid: 1 + before,
      count: Math.floor((manifest.events * (i + 1)) / threads) - before,
    };
    return new Worker(new URL('./verify-only-thread.js', import.meta.url), { workerData: range });
  });
  try {
    const prepared = await Promise.all(workers.map(nextAnswer));
    const signatures = prepared.reduce((sum, answer) => sum + answer.signatures, 0);
    const rounds: { cpuUs: number; wallMs: number }[] = [];
    for (let round = 0; round < ROUNDS; round++) {
      const cpuBefore = process.cpuUsage();
      const startMs = performance.now();
      const answers = workers.map(nextAnswer);
      for (const worker of workers) worker.postMessage('verify');
      const verified = (await Promise.all(answers)).reduce((sum, answer) => sum + answer.verified, 0);
      const { user, system } = process.cpuUsage(cpuBefore);
      rounds.push({ cpuUs: user + system, wallMs: performance.now() - startMs });
      if (verified === 0) throw new Error('no signature verified: the messages were not prepared rightly');
    }
    return {
      signatures,
      verify_us_per_signature: median(rounds.map((round) => round.cpuUs)) / signatures,
      verify_only_events_per_s: signatures / (median(rounds.map((round) => round.wallMs)) / 1000),
    };
  } finally {
    await Promise.all(workers.map((worker) => worker.terminate()));
  }
}

function nextAnswer(worker: Worker): Promise<VerifyOnlyAnswer> {
  return new Promise((resolve, reject) => {
    worker.once('error', reject);
    worker.once('message', (answer: VerifyOnlyAnswer) => {
      worker.off('error', reject);
      resolve(answer);
    });
  });
}

function median(values: readonly number[]): number {
  return [...values].sort((a, b) => a - b)[Math.floor(values.length / 2)] as number;
}
