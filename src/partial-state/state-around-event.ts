/**
 * The full state before and after one event that we lack, through one server: `/state_ids`, what is missing of it, the
 * event itself on top. Resynchronisation asks so for the prev_events of our join, fill-gap.ts for what lies behind a gap.
 * Specification v1.19, server-server API, "Retrieving events"; MSC3902, "Resynchronisation".
 */

import type { EventId, ServerName } from '../kernel/matrix/ids.js';
import { RemoteError } from '../remote/remote-error.js';
import { requestEvent } from '../remote/state-requests.js';
import { checkAgainst } from '../room/accept-event.js';
import { applyJudgements } from '../room/intake/apply-judgements.js';
import { ingestPdus } from '../room/intake/ingest-pdus.js';
import { judgeEvents } from '../room/intake/judge-events.js';
import type { RoomServer } from '../room/room-server.js';
import { storedState } from '../room/room-state.js';
import { eventVerdict, Verdict } from '../store/event-status.js';
import { loadEvent } from '../store/events.js';
import type { EventNid } from '../store/nids.js';
import type { Room } from '../store/rooms.js';
import { changeStateGroup, internStateKey } from '../store/state-groups.js';
import type { EventContext } from '../store/timeline.js';
import { buildFullState } from './build-full-state.js';
import { fetchState } from './fetch-state.js';
import { listState } from './list-state.js';

export interface StateAroundEvent extends EventContext {
  readonly nid: EventNid;
}

/**
 * The state around an event. `keys`: settles when the keys that were asked for beforehand are here. Throws RemoteError or
 * SplitError when that server's answers did not suffice; what was stored by then stays.
 */
export async function stateAroundEvent(
  server: RoomServer,
  room: Room,
  via: ServerName,
  eventId: EventId,
  keys: Promise<void>,
  signal: AbortSignal,
): Promise<StateAroundEvent> {
  const listed = await listState(server, via, room.roomId, eventId, signal);
  server.progressOf(room.roomId).resyncBytes += listed.bytes;
  await keys;
  await fetchState(server, via, room, eventId, listed, signal);
  const before = await buildFullState(server, via, room, listed);
  const nid = await fetchEvent(server, room, via, eventId, signal);
  const event =
    eventVerdict(server.store, nid) === Verdict.accepted ? loadEvent(server.store, room.rules, nid) : undefined;
  // The answer is the state before the event: if it is a state event and not rejected, it belongs on top.
  if (event?.record.stateKey === undefined) return { nid, before, after: before };
  if (checkAgainst(room, event, storedState(server.store, room, before), 'rejected') !== undefined)
    return { nid, before, after: before };
  const { type, stateKey } = event.record;
  const after = server.store.write((writer) =>
    changeStateGroup(writer, before, [[internStateKey(writer, room.nid, type, stateKey), nid]]),
  );
  return { nid, before, after };
}

/** Fetches, stores and judges the event itself. */
async function fetchEvent(
  server: RoomServer,
  room: Room,
  via: ServerName,
  eventId: EventId,
  signal: AbortSignal,
): Promise<EventNid> {
  const bytes = await requestEvent(server.client, via, eventId, signal);
  const { nids: stored, dropped } = await ingestPdus(server, room, [bytes], { pushed: false, lane: 'bulk' });
  const [nid] = stored;
  if (nid === undefined || loadEvent(server.store, room.rules, nid)?.eventId !== eventId) {
    const reason = dropped[0]?.reason ?? 'another event came';
    throw new RemoteError('malformed', via, `event: ${eventId} is not to be had: ${reason}`);
  }
  if (eventVerdict(server.store, nid) !== Verdict.unjudged) return nid;
  const nids = Uint32Array.of(nid);
  const judgements = await judgeEvents(server, room, nids, 'bulk');
  server.store.write((writer) => applyJudgements(writer, room, nids, judgements));
  return nid;
}
