/**
 * Events that we sent to a server: it may ask about them while our copy of the room is partial, also when we cannot place it in
 * the room any more. Whom an event went to follows from the state before it (room/distribute-event.ts).
 * MSC3895: its error is not for events that the resident sent itself.
 */

import type { EventId, ServerName } from '../../kernel/matrix/ids.js';
import { serverNameOf } from '../../kernel/matrix/ids.js';
import type { RoomServer } from '../../room/room-server.js';
import { eventNidOf, loadRecord } from '../../store/events.js';
import type { StateGroupNid } from '../../store/nids.js';
import type { Room } from '../../store/rooms.js';
import { eventContext } from '../../store/timeline.js';
import { checkServerInRoom, isAcceptedIn, isPartial, isServerInRoom } from './room-access.js';
import { memberPlaces, wasIn } from './users-of-server.js';

/**
 * Throws as `checkServerInRoom` does, unless the room is partial and each of `eventIds` is an event of ours that we sent to
 * `origin`.
 */
export async function checkServerMayAsk(
  server: RoomServer,
  room: Room,
  origin: ServerName,
  eventIds: readonly EventId[],
  errorWhilePartial = true,
): Promise<void> {
  if (isServerInRoom(server.store, room, origin)) return;
  if (isPartial(room) && (await wereSentTo(server, room, origin, eventIds))) return;
  checkServerInRoom(server.store, room, origin, errorWhilePartial);
}

async function wereSentTo(
  server: RoomServer,
  room: Room,
  origin: ServerName,
  eventIds: readonly EventId[],
): Promise<boolean> {
  const groups: StateGroupNid[] = [];
  for (const eventId of eventIds) {
    const before = stateBeforeOwn(server, room, eventId);
    if (before === undefined) return false;
    groups.push(before);
  }
  if (groups.length === 0) return false;
  const places = await memberPlaces(server.store, room, origin);
  return groups.every((group) => wasIn(server.store, group, places, false));
}

/** The state before an event of one of our users; undefined for any other event. */
function stateBeforeOwn({ store, serverName }: RoomServer, room: Room, eventId: EventId): StateGroupNid | undefined {
  const nid = eventNidOf(store, eventId);
  if (nid === undefined || !isAcceptedIn(store, room, nid)) return undefined;
  const sender = loadRecord(store, nid)?.sender;
  if (sender === undefined || serverNameOf(sender) !== serverName) return undefined;
  return eventContext(store, nid)?.before;
}
