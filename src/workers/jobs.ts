/**
 * Every job that a worker can do, by the name under which thread.ts exports it: what goes in, what comes out, and which
 * buffers are moved rather than copied.
 */

import type { CheckAuthBatchInput, CheckAuthBatchOutput } from './jobs/check-auth-batch.js';
import { checkAuthBatch } from './jobs/check-auth-batch.js';
import type { ClientEventsInput, ClientEventsOutput } from './jobs/client-events.js';
import { clientEvents } from './jobs/client-events.js';
import type { FindAuthChainInput, FindAuthChainOutput } from './jobs/find-auth-chain.js';
import { findAuthChain } from './jobs/find-auth-chain.js';
import type { ResolveGroupsInput, ResolveGroupsOutput } from './jobs/resolve-groups.js';
import { resolveGroups } from './jobs/resolve-groups.js';
import type { VerifyPdusOutput } from './jobs/verified-batch.js';
import type { VerifyPdusInput } from './jobs/verify-pdus.js';
import { verifyPdus } from './jobs/verify-pdus.js';
import type { WarmUpInput, WarmUpOutput } from './jobs/warm-up.js';
import { warmUp } from './jobs/warm-up.js';
import type { WorkerContext } from './worker-context.js';

export interface Jobs {
  readonly verifyPdus: { readonly input: VerifyPdusInput; readonly output: VerifyPdusOutput };
  readonly checkAuthBatch: { readonly input: CheckAuthBatchInput; readonly output: CheckAuthBatchOutput };
  readonly resolveGroups: { readonly input: ResolveGroupsInput; readonly output: ResolveGroupsOutput };
  readonly findAuthChain: { readonly input: FindAuthChainInput; readonly output: FindAuthChainOutput };
  readonly warmUp: { readonly input: WarmUpInput; readonly output: WarmUpOutput };
  readonly clientEvents: { readonly input: ClientEventsInput; readonly output: ClientEventsOutput };
}

export type JobName = keyof Jobs;
export type JobInput<Name extends JobName> = Jobs[Name]['input'];
export type JobOutput<Name extends JobName> = Jobs[Name]['output'];

type JobTable = { readonly [Name in JobName]: (input: JobInput<Name>, context: WorkerContext) => JobOutput<Name> };

/** The export name of a job is its name. */
export const jobs: JobTable = { verifyPdus, checkAuthBatch, resolveGroups, findAuthChain, clientEvents, warmUp };

/** Buffers of an input that may be moved to the worker. */
export function movableInput<Name extends JobName>(name: Name, input: JobInput<Name>): ArrayBuffer[] {
  if (name !== 'verifyPdus') return [];
  const { batch } = input as VerifyPdusInput;
  return [batch.bytes.buffer, batch.offsets.buffer];
}

/** Buffers of an output that may be moved back: every typed array it holds at its top level, shared memory excepted. */
export function movableOutput(output: object): ArrayBuffer[] {
  const buffers = new Set<ArrayBuffer>();
  for (const value of Object.values(output) as unknown[]) {
    if (ArrayBuffer.isView(value) && value.buffer instanceof ArrayBuffer) buffers.add(value.buffer);
  }
  return [...buffers];
}
