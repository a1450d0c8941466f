/**
 * One attempt to resynchronise a room through one server: the state before our users' joins, as the state after those of
 * their prev_events that we lack, because every server in the room can know those, while only some know our joins yet. Then the state of
 * everything that came meanwhile is put right (un-partial-state.ts).
 *
 * Every wait can be aborted; whatever was stored stays stored, so that another attempt goes on where this one was.
 * MSC3902, "Resynchronisation".
 */

import type { EventId, ServerName } from '../kernel/matrix/ids.js';
import type { RoomServer } from '../room/room-server.js';
import { eventNidOf, loadEvent, loadRecord, referencedIds } from '../store/events.js';
import type { EventNid, StateGroupNid } from '../store/nids.js';
import type { Room } from '../store/rooms.js';
import { loadPartialState, loadRoom, partialStateEvents } from '../store/rooms.js';
import { eventContextIn } from '../store/timeline.js';
import { stateAroundEvent } from './state-around-event.js';
import { lacksPrevs, unPartialState } from './un-partial-state.js';

/** Resynchronises through `via`. Throws RemoteError or SplitError when that server's answers did not suffice. */
export async function resyncRoom(server: RoomServer, room: Room, via: ServerName, signal: AbortSignal): Promise<void> {
  const row = loadPartialState(server.store, room.nid);
  if (row === undefined || loadRecord(server.store, row.joinNid) === undefined)
    throw new Error(`room ${room.roomId} has partial state but no join event`);
  server.progressOf(room.roomId).begin(via);
  // Keys come beside the list of events, so that verification does not wait for them one by one.
  const keys = server.keys.prefetch(row.servers, signal);
  keys.catch(() => undefined);
  const stateAfter = new Map<EventNid, StateGroupNid>();
  // Another user's join may come meanwhile and name events that we lack; un-partial-stating then finds that out.
  do {
    for (const prev of missingPrevs(server, room)) {
      if (stateAfter.has(prev.nid)) continue;
      const { after } = await stateAroundEvent(server, room, via, prev.eventId, keys, signal);
      stateAfter.set(prev.nid, after);
      signal.throwIfAborted();
    }
  } while (!(await unPartialState(server, room.roomId, stateAfter, signal)));
}

interface MissingPrev {
  readonly nid: EventNid;
  readonly eventId: EventId;
}

/** The prev_events of events with partial state that we do not have ourselves: of our users' joins. */
function missingPrevs(server: RoomServer, room: Room): readonly MissingPrev[] {
  const found = new Map<EventNid, MissingPrev>();
  for (const nid of partialStateEvents(server.store, room.nid)) {
    const event = lacksPrevs(server.store, room.nid, nid) ? loadEvent(server.store, room.rules, nid) : undefined;
    for (const eventId of referencedIds(event?.json.prev_events)) {
      const prev = eventNidOf(server.store, eventId);
      if (prev !== undefined && eventContextIn(server.store, room.nid, prev) === undefined)
        found.set(prev, { nid: prev, eventId });
    }
  }
  return [...found.values()];
}

/** The room as it stands, while it still has partial state. */
export function partialRoom(server: RoomServer, roomId: Room['roomId']): Room | undefined {
  const room = loadRoom(server.store, roomId);
  return room?.residency === 'partial-state' ? room : undefined;
}
