/**
 * A verdict that was reached on partial state may turn out wrong. Then every judged event that names the event in its
 * auth_events, or names one that does, is judged again, wherever it is stored: outliers, and events whose state is full.
 * Events whose state is still partial come later by themselves.
 *
 * Who names whom is read from the records when the first verdict flips: flips are rare and a second index would not be.
 * Specification v1.19, server-server API, "Rejection"; MSC3902.
 */

import { setImmediate as nextTurn } from 'node:timers/promises';
import { checkAgainst } from '../room/accept-event.js';
import { judgeEvents } from '../room/intake/judge-events.js';
import type { RoomServer } from '../room/room-server.js';
import { storedState } from '../room/room-state.js';
import { recordAuthNids } from '../store/event-record.js';
import { eventVerdict, Verdict } from '../store/event-status.js';
import type { LoadedEvent } from '../store/events.js';
import { loadEvent } from '../store/events.js';
import type { EventNid } from '../store/nids.js';
import type { StoreReader } from '../store/open-store.js';
import type { Refusal, Room } from '../store/rooms.js';
import { clearPartialStateEvent } from '../store/rooms.js';
import { eventContext } from '../store/timeline.js';
import { putVerdict } from './put-verdict.js';

/** Records read between two turns of the event loop: about 5 ms. */
const RECORDS_A_TURN = 5_000;

/** The events of one room by what they name in auth_events. */
interface Citations {
  /** Citing NIDs of event n: citing[offsets[n] .. offsets[n + 1]]. */
  readonly offsets: Uint32Array;
  readonly citing: Uint32Array;
}

export class VerdictHandOn {
  readonly #server: RoomServer;
  readonly #room: Room;
  #citations: Citations | undefined;

  constructor(server: RoomServer, room: Room) {
    this.#server = server;
    this.#room = room;
  }

  /** Judges again what rests on `flipped`; one write, which clears its mark too. `waiting`: events whose turn is to come. */
  async handOn(flipped: EventNid, waiting: ReadonlySet<EventNid>): Promise<void> {
    const { store, serverName } = this.#server;
    this.#citations ??= await readCitations(store, this.#room);
    const nids = this.#resting(this.#citations, flipped, waiting);
    const refusals = await this.#judge(nids);
    store.write((writer) => {
      for (const nid of nids) {
        const refusal = refusals.get(nid);
        if (refusal === 'keep') continue;
        const event = loadEvent(writer, this.#room.rules, nid);
        const wasRejected = eventVerdict(writer, nid) === Verdict.rejected;
        if (event === undefined || wasRejected === (refusal !== undefined)) continue;
        putVerdict(writer, this.#room, event, eventContext(writer, nid)?.before, refusal, serverName);
      }
      clearPartialStateEvent(writer, this.#room.nid, flipped);
    });
  }

  /** Judged events that rest on an event, ascending, without those whose turn is to come and what rests on these alone. */
  #resting({ offsets, citing }: Citations, flipped: EventNid, waiting: ReadonlySet<EventNid>): EventNid[] {
    const found = new Set<EventNid>();
    const toVisit = [flipped];
    for (let nid = toVisit.pop(); nid !== undefined; nid = toVisit.pop()) {
      for (let c = offsets[nid] ?? 0; c < (offsets[nid + 1] ?? 0); c++) {
        const by = citing[c] as EventNid;
        const verdict = eventVerdict(this.#server.store, by);
        const isJudged = verdict === Verdict.accepted || verdict === Verdict.rejected;
        if (!isJudged || waiting.has(by) || found.has(by)) continue;
        found.add(by);
        toVisit.push(by);
      }
    }
    return [...found].sort((a, b) => a - b);
  }

  /** Why each is rejected now; nothing for one that is accepted; `keep` where it cannot be judged now. */
  async #judge(nids: readonly EventNid[]): Promise<ReadonlyMap<EventNid, Refusal | 'keep'>> {
    const { store } = this.#server;
    const refusals = new Map<EventNid, Refusal | 'keep'>();
    if (nids.length === 0) return refusals;
    const judgements = await judgeEvents(this.#server, this.#room, Uint32Array.from(nids), 'bulk');
    for (const { nid, judgement, code, reason } of judgements.refusals)
      refusals.set(nid, judgement === 'dropped' ? 'keep' : { verdict: 'rejected', code, reason });
    // Auth events come before what names them here: what the state refuses is handed on as well.
    for (const event of inAuthOrder(store, this.#room, nids)) {
      if (refusals.has(event.nid)) continue;
      const rests = event.record.authNids.some((nid) => isRefused(refusals.get(nid)));
      const before = eventContext(store, event.nid)?.before;
      const refusal: Refusal | undefined = rests
        ? { verdict: 'rejected', code: 'auth-event-rejected', reason: 'an auth event was rejected' }
        : before === undefined
          ? undefined
          : checkAgainst(this.#room, event, storedState(store, this.#room, before), 'rejected');
      if (refusal !== undefined) refusals.set(event.nid, refusal);
    }
    return refusals;
  }
}

function isRefused(refusal: Refusal | 'keep' | undefined): boolean {
  return refusal !== undefined && refusal !== 'keep';
}

/** The events, each after those of its auth events that are among them. */
function inAuthOrder(reader: StoreReader, room: Room, nids: readonly EventNid[]): LoadedEvent[] {
  const events = new Map<EventNid, LoadedEvent>();
  for (const nid of nids) {
    const event = loadEvent(reader, room.rules, nid);
    if (event !== undefined) events.set(nid, event);
  }
  const order: LoadedEvent[] = [];
  const entered = new Set<LoadedEvent>();
  const left = new Set<LoadedEvent>();
  const toVisit = [...events.values()];
  for (let event = toVisit.at(-1); event !== undefined; event = toVisit.at(-1)) {
    if (entered.has(event)) {
      toVisit.pop();
      if (!left.has(event)) order.push(event);
      left.add(event);
      continue;
    }
    entered.add(event);
    for (const nid of event.record.authNids) {
      const auth = events.get(nid);
      if (auth !== undefined && !entered.has(auth)) toVisit.push(auth);
    }
  }
  return order;
}

async function readCitations(reader: RoomServer['store'], room: Room): Promise<Citations> {
  const end = ((reader.tables.meta.get('next_event_nid') as number | undefined) ?? 1) + 1;
  const pairs: number[] = [];
  const offsets = new Uint32Array(end + 1);
  for (let nid = 1; nid < end; nid++) {
    if (nid % RECORDS_A_TURN === 0) {
      reader.refresh();
      await nextTurn();
    }
    const record = reader.tables.event_record_by_nid.getBinaryFast(nid);
    if (record === undefined || record.readUInt32LE(0) !== room.nid) continue;
    for (const auth of new Set(recordAuthNids(record))) {
      if (auth === 0 || auth >= end) continue;
      pairs.push(auth, nid);
      offsets[auth + 1] = (offsets[auth + 1] as number) + 1;
    }
  }
  for (let nid = 0; nid < end; nid++) offsets[nid + 1] = (offsets[nid + 1] as number) + (offsets[nid] as number);
  const fill = offsets.slice();
  const citing = new Uint32Array(pairs.length / 2);
  for (let at = 0; at < pairs.length; at += 2) {
    const auth = pairs[at] as number;
    citing[fill[auth] as number] = pairs[at + 1] as number;
    fill[auth] = (fill[auth] as number) + 1;
  }
  return { offsets, citing };
}
