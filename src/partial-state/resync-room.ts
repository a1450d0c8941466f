/**
 * One attempt to resynchronise a room through one server: the state before our join, as the state after the join's
 * prev_events, because every server in the room can know those, while only some know our join yet. Then the state of
 * everything that came meanwhile is put right (un-partial-state.ts).
 *
 * Every wait can be aborted; whatever was stored stays stored, so that another attempt goes on where this one was.
 * MSC3902, "Resynchronisation".
 */

import type { EventId, ServerName } from '../kernel/matrix/ids.js';
import { RemoteError } from '../remote/remote-error.js';
import { requestEvent } from '../remote/state-requests.js';
import { checkAgainst } from '../room/accept-event.js';
import { applyJudgements } from '../room/intake/apply-judgements.js';
import { ingestPdus } from '../room/intake/ingest-pdus.js';
import { judgeEvents } from '../room/intake/judge-events.js';
import type { RoomServer } from '../room/room-server.js';
import { resolveStoredStates, storedState } from '../room/room-state.js';
import { loadEvent, referencedIds } from '../store/events.js';
import type { StateGroupNid } from '../store/nids.js';
import type { Room } from '../store/rooms.js';
import { loadPartialState, loadRoom } from '../store/rooms.js';
import { changeStateGroup, internStateKey } from '../store/state-groups.js';
import { buildFullState } from './build-full-state.js';
import { fetchState } from './fetch-state.js';
import { listState } from './list-state.js';
import { unPartialState } from './un-partial-state.js';

/** Resynchronises through `via`. Throws RemoteError or SplitError when that server's answers did not suffice. */
export async function resyncRoom(server: RoomServer, room: Room, via: ServerName, signal: AbortSignal): Promise<void> {
  const row = loadPartialState(server.store, room.nid);
  const join = row === undefined ? undefined : loadEvent(server.store, room.rules, row.joinNid);
  if (join === undefined) throw new Error(`room ${room.roomId} has partial state but no join event`);
  server.progressOf(room.roomId).server = via;
  // Keys come beside the list of events, so that verification does not wait for them one by one.
  const keys = server.keys.prefetch(row?.servers ?? [], signal);
  keys.catch(() => undefined);
  const groups: StateGroupNid[] = [];
  for (const prev of referencedIds(join.json.prev_events))
    groups.push(await stateAfterPrev(server, room, via, prev, keys, signal));
  const beforeJoin = await resolveStoredStates(server, room, groups, 'bulk');
  signal.throwIfAborted();
  await unPartialState(server, room.roomId, beforeJoin);
}

/** The full state after one prev_event of our join. */
async function stateAfterPrev(
  server: RoomServer,
  room: Room,
  via: ServerName,
  prev: EventId,
  keys: Promise<void>,
  signal: AbortSignal,
): Promise<StateGroupNid> {
  const listed = await listState(server, via, room.roomId, prev, signal);
  server.progressOf(room.roomId).resyncBytes += listed.bytes;
  await keys;
  await fetchState(server, via, room, prev, listed, signal);
  const before = await buildFullState(server, via, room, listed);
  return withPrevOnTop(server, room, via, prev, before, signal);
}

/** The answer is the state before the event: if it is a state event and not rejected, it belongs on top. */
async function withPrevOnTop(
  server: RoomServer,
  room: Room,
  via: ServerName,
  prev: EventId,
  before: StateGroupNid,
  signal: AbortSignal,
): Promise<StateGroupNid> {
  const bytes = await requestEvent(server.client, via, prev, signal);
  const { nids: stored, dropped } = await ingestPdus(server, room, [bytes], { pushed: false, lane: 'bulk' });
  const [nid] = stored;
  const event = nid === undefined ? undefined : loadEvent(server.store, room.rules, nid);
  if (nid === undefined || event === undefined || event.eventId !== prev) {
    throw new RemoteError(
      'malformed',
      via,
      `event: ${prev} is not to be had: ${dropped[0]?.reason ?? 'another event came'}`,
    );
  }
  const nids = Uint32Array.of(nid);
  const judgements = await judgeEvents(server, room, nids, 'bulk');
  server.store.write((writer) => applyJudgements(writer, room.nid, nids, judgements));
  if (judgements.verdicts[0] !== 'accepted' || event.record.stateKey === undefined) return before;
  if (checkAgainst(room, event, storedState(server.store, room, before), 'rejected') !== undefined) return before;
  const { type, stateKey } = event.record;
  return server.store.write((writer) =>
    changeStateGroup(writer, before, [[internStateKey(writer, room.nid, type, stateKey), nid]]),
  );
}

/** The room as it stands, while it still has partial state. */
export function partialRoom(server: RoomServer, roomId: Room['roomId']): Room | undefined {
  const room = loadRoom(server.store, roomId);
  return room?.residency === 'partial-state' ? room : undefined;
}
