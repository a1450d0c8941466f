/**
 * Verdicts for stored, unjudged events: each is checked against the contents of its auth events on all threads, in any
 * order; then one pass in topological order of auth_events hands on two marks: where an auth event is missing or was
 * dropped, the event is dropped; else where one was rejected, it is rejected.
 *
 * Kahn's order over auth_events, never by `depth`, which the sender chooses. Events on a cycle are never reached and are
 * dropped. Specification v1.19, server-server API, "Rejection" and "Checks performed on receipt of a PDU", step 4.
 */

import { setImmediate as nextTurn } from 'node:timers/promises';
import { eventStatuses, VERDICT_BITS, Verdict } from '../../store/event-status.js';
import type { EventNid } from '../../store/nids.js';
import type { Room } from '../../store/rooms.js';
import { AUTH_BATCH_EVENTS_MAX, AuthOutcome } from '../../workers/jobs/check-auth-batch.js';
import type { Lane } from '../../workers/pool.js';
import type { RoomServer } from '../room-server.js';

/** Events between two turns of the event loop in the topological pass: about 5 ms. */
const EVENTS_A_TURN = 20_000;
/** Batches being checked at once, a thread: one running, one waiting in the thread, one in the queue. */
const BATCHES_A_THREAD = 3;

export type Judgement = 'accepted' | 'rejected' | 'dropped';

export interface JudgedRefusal {
  readonly nid: EventNid;
  readonly judgement: 'rejected' | 'dropped';
  readonly code: string;
  readonly reason: string;
}

export interface Judgements {
  /** In the order of the given NIDs. */
  readonly verdicts: readonly Judgement[];
  readonly refusals: readonly JudgedRefusal[];
}

/** What a room's rules need while the room has no row yet. */
export type JudgedRoom = Pick<Room, 'nid' | 'roomId' | 'version' | 'createNid'>;

interface Graph {
  readonly outcomes: Uint8Array;
  /** Auth NIDs of event i: authNids[offsets[i] .. offsets[i + 1]]. */
  readonly authNids: Uint32Array;
  readonly offsets: Uint32Array;
  readonly reasons: Map<number, { readonly code: string; readonly reason: string }>;
}

/** Judges `nids` (ascending, no duplicates); auth events outside of them count by the verdict they have. */
export async function judgeEvents(
  server: RoomServer,
  room: JudgedRoom,
  nids: Uint32Array,
  lane: Lane,
  onProgress: (checked: number) => void = () => undefined,
): Promise<Judgements> {
  const graph = await checkAll(server, room, nids, lane, onProgress);
  return passOnMarks(server, nids, graph);
}

async function checkAll(
  server: RoomServer,
  room: JudgedRoom,
  nids: Uint32Array,
  lane: Lane,
  onProgress: (checked: number) => void,
): Promise<Graph> {
  const outcomes = new Uint8Array(nids.length);
  const offsets = new Uint32Array(nids.length + 1);
  const reasons = new Map<number, { code: string; reason: string }>();
  const parts: Uint32Array[] = [];
  let checked = 0;
  const starts: number[] = [];
  const threads = Math.max(1, server.pool.stats().threads);
  // A few batches for each thread: the threads end together, and a join's few events go to all of them.
  const size = Math.min(AUTH_BATCH_EVENTS_MAX, Math.ceil(nids.length / (threads * BATCHES_A_THREAD)));
  for (let start = 0; start < nids.length; start += size) starts.push(start);
  await inParallel(starts.length, threads * BATCHES_A_THREAD, async (n) => {
    const start = starts[n] as number;
    const batch = nids.slice(start, start + size);
    const output = await server.pool.run(
      'checkAuthBatch',
      {
        roomVersion: room.version,
        roomId: room.roomId,
        roomNid: room.nid,
        createNid: room.createNid,
        nids: batch as Uint32Array<ArrayBuffer>,
      },
      lane,
    );
    outcomes.set(output.outcomes, start);
    for (let i = 0; i < batch.length; i++)
      offsets[start + i + 1] = (output.authOffsets[i + 1] as number) - (output.authOffsets[i] as number);
    parts[n] = output.authNids;
    for (const { number, code, reason } of output.refusals) reasons.set(start + number, { code, reason });
    checked += batch.length;
    onProgress(checked);
  });
  for (let i = 0; i < nids.length; i++) offsets[i + 1] = (offsets[i + 1] as number) + (offsets[i] as number);
  const authNids = new Uint32Array(offsets[nids.length] as number);
  let at = 0;
  for (const part of parts) {
    authNids.set(part, at);
    at += part.length;
  }
  return { outcomes, authNids, offsets, reasons };
}

/** Runs `task(0 .. count - 1)`, at most `width` at once. */
async function inParallel(count: number, width: number, task: (n: number) => Promise<void>): Promise<void> {
  let next = 0;
  const lanes = Array.from({ length: Math.min(width, count) }, async () => {
    while (next < count) await task(next++);
  });
  await Promise.all(lanes);
}

const MARK_ACCEPTED = 1;
const MARK_REJECTED = 2;
const MARK_DROPPED = 3;

async function passOnMarks(server: RoomServer, nids: Uint32Array, graph: Graph): Promise<Judgements> {
  const count = nids.length;
  const { offsets, authNids } = graph;
  // Ascending NIDs: positions by a dense table over their span, where the span is not much wider than their number.
  const position = positionLookup(nids);
  const waitsFor = new Uint32Array(count);
  const citedCounts = new Uint32Array(count + 1);
  for (let i = 0; i < count; i++) {
    for (let a = offsets[i] as number; a < (offsets[i + 1] as number); a++) {
      const p = position(authNids[a] as number);
      if (p < 0) continue;
      waitsFor[i] = (waitsFor[i] as number) + 1;
      citedCounts[p + 1] = (citedCounts[p + 1] as number) + 1;
    }
  }
  await nextTurn();
  for (let i = 0; i < count; i++) citedCounts[i + 1] = (citedCounts[i + 1] as number) + (citedCounts[i] as number);
  const citedBy = new Uint32Array(citedCounts[count] as number);
  const fill = citedCounts.slice();
  for (let i = 0; i < count; i++) {
    for (let a = offsets[i] as number; a < (offsets[i + 1] as number); a++) {
      const p = position(authNids[a] as number);
      if (p < 0) continue;
      citedBy[fill[p] as number] = i;
      fill[p] = (fill[p] as number) + 1;
    }
  }
  await nextTurn();
  const marks = new Uint8Array(count);
  const outside = rememberedMarks(server);
  const refusals: JudgedRefusal[] = [];
  const order = new Uint32Array(count);
  let ready = 0;
  for (let i = 0; i < count; i++) if (waitsFor[i] === 0) order[ready++] = i;
  for (let n = 0; n < ready; n++) {
    if (n % EVENTS_A_TURN === EVENTS_A_TURN - 1) await nextTurn();
    const i = order[n] as number;
    marks[i] = judgeOne(outside, graph, i, position, marks, (judgement, code, reason) =>
      refusals.push({ nid: nids[i] as EventNid, judgement, code, reason }),
    );
    for (let c = citedCounts[i] as number; c < (citedCounts[i + 1] as number); c++) {
      const citing = citedBy[c] as number;
      waitsFor[citing] = (waitsFor[citing] as number) - 1;
      if (waitsFor[citing] === 0) order[ready++] = citing;
    }
  }
  for (let i = 0; i < count; i++) {
    if (marks[i] !== 0) continue;
    marks[i] = MARK_DROPPED;
    refusals.push({
      nid: nids[i] as EventNid,
      judgement: 'dropped',
      code: 'auth-cycle',
      reason: 'rests on itself through its auth_events',
    });
  }
  const verdicts: Judgement[] = new Array(count);
  for (let i = 0; i < count; i++)
    verdicts[i] = marks[i] === MARK_ACCEPTED ? 'accepted' : marks[i] === MARK_REJECTED ? 'rejected' : 'dropped';
  return { verdicts, refusals };
}

function judgeOne(
  outside: (nid: number) => number,
  graph: Graph,
  i: number,
  position: (nid: number) => number,
  marks: Uint8Array,
  refuse: (judgement: 'rejected' | 'dropped', code: string, reason: string) => void,
): number {
  const { offsets, authNids, outcomes, reasons } = graph;
  if (outcomes[i] === AuthOutcome.noRecord) {
    refuse('dropped', 'missing', 'the event itself is not stored');
    return MARK_DROPPED;
  }
  let rejected = false;
  for (let a = offsets[i] as number; a < (offsets[i + 1] as number); a++) {
    const nid = authNids[a] as number;
    const p = position(nid);
    const mark = p >= 0 ? (marks[p] as number) : outside(nid);
    if (mark === MARK_DROPPED) {
      refuse('dropped', 'auth-event-missing', 'an auth event is not to be had or was left out');
      return MARK_DROPPED;
    }
    if (mark === MARK_REJECTED) rejected = true;
  }
  if (outcomes[i] === AuthOutcome.authEventMissing) {
    refuse('dropped', 'auth-event-missing', 'an auth event is not to be had or was left out');
    return MARK_DROPPED;
  }
  if (rejected) {
    refuse('rejected', 'auth-event-rejected', 'an auth event was rejected');
    return MARK_REJECTED;
  }
  if (outcomes[i] === AuthOutcome.refused) {
    const { code, reason } = reasons.get(i) ?? { code: 'refused', reason: 'the authorization rules refuse it' };
    refuse('rejected', code, reason);
    return MARK_REJECTED;
  }
  return MARK_ACCEPTED;
}

/** The mark of an event that is not being judged now: what is unjudged or unknown counts as missing. */
function storedMark(server: RoomServer, nid: number): number {
  if (nid === 0) return MARK_DROPPED;
  const verdict = (eventStatuses(server.store, nid as EventNid, 1)[0] as number) & VERDICT_BITS;
  if (verdict === Verdict.accepted) return MARK_ACCEPTED;
  return verdict === Verdict.rejected ? MARK_REJECTED : MARK_DROPPED;
}

/** storedMark, remembering its answers: most events rest on the same few power levels and join rules. */
function rememberedMarks(server: RoomServer): (nid: number) => number {
  const marks = new Map<number, number>();
  return (nid) => {
    let mark = marks.get(nid);
    if (mark === undefined) {
      mark = storedMark(server, nid);
      marks.set(nid, mark);
    }
    return mark;
  };
}

/** NID -> position in `nids`, -1 where it is not among them. */
function positionLookup(nids: Uint32Array): (nid: number) => number {
  const first = nids[0] ?? 0;
  const span = (nids[nids.length - 1] ?? 0) - first + 1;
  if (span <= nids.length * 4 + 1024) {
    const table = new Int32Array(span).fill(-1);
    for (let i = 0; i < nids.length; i++) table[(nids[i] as number) - first] = i;
    return (nid) => (nid < first || nid - first >= span ? -1 : (table[nid - first] as number));
  }
  const map = new Map<number, number>();
  for (let i = 0; i < nids.length; i++) map.set(nids[i] as number, i);
  return (nid) => map.get(nid) ?? -1;
}
