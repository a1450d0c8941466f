/**
 * One attempt to resynchronise a room through one server: the state before our join, as the state after the join's
 * prev_events, because every server in the room can know those, while only some know our join yet. Then the state of
 * everything that came meanwhile is put right (un-partial-state.ts).
 *
 * Every wait can be aborted; whatever was stored stays stored, so that another attempt goes on where this one was.
 * MSC3902, "Resynchronisation".
 */

import type { ServerName } from '../kernel/matrix/ids.js';
import type { RoomServer } from '../room/room-server.js';
import { resolveStoredStates } from '../room/room-state.js';
import { loadEvent, referencedIds } from '../store/events.js';
import type { StateGroupNid } from '../store/nids.js';
import type { Room } from '../store/rooms.js';
import { loadPartialState, loadRoom } from '../store/rooms.js';
import { stateAroundEvent } from './state-around-event.js';
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
    groups.push((await stateAroundEvent(server, room, via, prev, keys, signal)).after);
  const beforeJoin = await resolveStoredStates(server, room, groups, 'bulk');
  await unPartialState(server, room.roomId, beforeJoin, signal);
}

/** The room as it stands, while it still has partial state. */
export function partialRoom(server: RoomServer, roomId: Room['roomId']): Room | undefined {
  const room = loadRoom(server.store, roomId);
  return room?.residency === 'partial-state' ? room : undefined;
}
