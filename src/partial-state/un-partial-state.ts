/**
 * From partial to full state: works forward over the events that came while the state was partial, gives each its full
 * state, authorises it again, flips verdicts that were wrong; then current state, forward extremities and the flag, in one
 * write. MSC3902: "work forward through the event DAG, recalculating the state at each event, and rechecking event
 * authorisation".
 *
 * Runs in the room's queue: nothing is accepted meanwhile. A crash in between leaves marks on the events that are still
 * partial and the room partial; the next resync starts from them.
 */

import { setImmediate as nextTurn } from 'node:timers/promises';
import type { RoomId, ServerName } from '../kernel/matrix/ids.js';
import { checkAgainst, stateBefore } from '../room/accept-event.js';
import { judgeEvents } from '../room/intake/judge-events.js';
import { countJoined, showAccepted, stateAfter } from '../room/persist-event.js';
import { refreshRedactions } from '../room/redactions/apply-redactions.js';
import type { RoomServer } from '../room/room-server.js';
import { resolveStoredStates, storedState } from '../room/room-state.js';
import { eventVerdict, setEventStatus, Verdict } from '../store/event-status.js';
import { loadEvent } from '../store/events.js';
import type { EventNid, StateGroupNid } from '../store/nids.js';
import { takeNumbers } from '../store/open-store.js';
import type { Refusal, Room } from '../store/rooms.js';
import {
  addJoinedCounts,
  clearPartialStateEvent,
  joinedServers,
  loadPartialState,
  loadRoom,
  partialStateEvents,
  putRefusal,
  putRoom,
  removePartialState,
  removeRefusal,
} from '../store/rooms.js';
import { stateEntries } from '../store/state-groups.js';
import { eventContext, eventPrevs, putEventContext } from '../store/timeline.js';

/** State entries counted between two turns of the event loop: about 5 ms. */
const ENTRIES_A_TURN = 2_000;

/** Makes the room's state full. `beforeJoin`: the full state before our join. Rejects with the signal's reason. */
export function unPartialState(
  server: RoomServer,
  roomId: RoomId,
  beforeJoin: StateGroupNid,
  signal: AbortSignal,
): Promise<void> {
  return server.queues.run(roomId, async () => {
    // Our last user may have left while this waited in the queue.
    signal.throwIfAborted();
    const room = loadRoom(server.store, roomId);
    const row = room === undefined ? undefined : loadPartialState(server.store, room.nid);
    if (room === undefined || row === undefined) return;
    const progress = server.progressOf(roomId);
    const waiting = new Set(partialStateEvents(server.store, room.nid));
    const stage = progress.start('un_partial_stating', waiting.size);
    for (let nid = nextEvent(server, waiting); nid !== undefined; nid = nextEvent(server, waiting)) {
      const before = nid === row.joinNid ? beforeJoin : await stateBefore(server, room, eventPrevs(server.store, nid));
      await recheckEvent(server, room, nid, before);
      waiting.delete(nid);
      stage.done += 1;
    }
    await completeRoom(server, room, beforeJoin);
    progress.end('un_partial_stating');
  });
}

/** A waiting event none of whose prev_events waits. Prevs precede what names them, so there is one as long as any waits. */
function nextEvent(server: RoomServer, waiting: ReadonlySet<EventNid>): EventNid | undefined {
  for (const nid of waiting) if (!eventPrevs(server.store, nid).some((prev) => waiting.has(prev))) return nid;
  if (waiting.size > 0) throw new Error('events with partial state rest on one another in a circle');
  return undefined;
}

/** Authorises one event again, on its full state, and clears its mark. */
async function recheckEvent(server: RoomServer, room: Room, nid: EventNid, before: StateGroupNid): Promise<void> {
  const event = loadEvent(server.store, room.rules, nid);
  if (event === undefined) throw new Error(`event ${nid} has partial state but no body`);
  const judgements = await judgeEvents(server, room, Uint32Array.of(nid), 'bulk');
  const judged = judgements.refusals[0];
  const refusal: Refusal | undefined =
    judged === undefined
      ? checkAgainst(room, event, storedState(server.store, room, before), 'rejected')
      : { verdict: 'rejected', code: judged.code, reason: judged.reason };
  const wasRejected = eventVerdict(server.store, nid) === Verdict.rejected;
  server.store.write((writer) => {
    const after = stateAfter(writer, room, { nid, before, refusal }, event.record);
    putEventContext(writer, nid, { before, after });
    clearPartialStateEvent(writer, room.nid, nid);
    setEventStatus(writer, nid, refusal === undefined ? Verdict.accepted : Verdict.rejected);
    if (refusal !== undefined) putRefusal(writer, room.nid, event.eventId, refusal);
    if (refusal === undefined && wasRejected) {
      removeRefusal(writer, room.nid, event.eventId);
      showAccepted(writer, room, nid, event.record, server.serverName);
    } else {
      refreshRedactions(writer, room, nid);
    }
  });
}

async function completeRoom(server: RoomServer, room: Room, beforeJoin: StateGroupNid): Promise<void> {
  const { store } = server;
  const extremities = acceptedExtremities(server, room);
  const groups = extremities.map((nid) => eventContext(store, nid)?.after ?? beforeJoin);
  const currentGroup = await resolveStoredStates(server, room, groups, 'bulk');
  const joined = new Map<ServerName, number>();
  let counted = 0;
  for (const [, nid] of stateEntries(store, currentGroup)) {
    countJoined(store, nid, 1, joined);
    counted += 1;
    if (counted % ENTRIES_A_TURN === 0) await nextTurn();
  }
  for (const [name, count] of [...joinedServers(store, room.nid)]) joined.set(name, (joined.get(name) ?? 0) - count);
  store.write((writer) => {
    putRoom(writer, room.nid, { ...room, residency: 'full-state', currentGroup, extremities });
    addJoinedCounts(writer, room.nid, joined);
    removePartialState(writer, room.nid);
    // Clients whose token is older have not seen the whole room: sync/ tells them.
    writer.tables.meta.put(`completed_position:${room.nid}`, takeNumbers(writer, 'next_stream_position', 1));
  });
}

/** Forward extremities; a rejected one gives way to its prev_events that are not behind another. */
function acceptedExtremities(server: RoomServer, room: Room): EventNid[] {
  const accepted = new Set<EventNid>();
  const toVisit = [...room.extremities];
  for (let nid = toVisit.pop(); nid !== undefined; nid = toVisit.pop()) {
    if (eventVerdict(server.store, nid) === Verdict.accepted) accepted.add(nid);
    else toVisit.push(...eventPrevs(server.store, nid));
  }
  return [...accepted].filter((nid) => eventContext(server.store, nid) !== undefined);
}
