/**
 * Who gets an event of ours: every server with a joined member; while the room has partial state, every server that the
 * resident named and every server of a known member that joined since. Queued durably; remote/ sends.
 */

import type { ServerName } from '../kernel/matrix/ids.js';
import type { EventNid } from '../store/nids.js';
import type { StoreReader } from '../store/open-store.js';
import type { Room } from '../store/rooms.js';
import { joinedServers, loadPartialState } from '../store/rooms.js';
import { queueEvent } from '../store/transactions.js';
import type { RoomServer } from './room-server.js';

/** Other servers in a room, as far as we know. */
export function serversInRoom(reader: StoreReader, room: Room, own: ServerName): Set<ServerName> {
  const servers = new Set<ServerName>();
  for (const [name] of joinedServers(reader, room.nid)) servers.add(name);
  for (const name of loadPartialState(reader, room.nid)?.servers ?? []) servers.add(name);
  servers.delete(own);
  return servers;
}

/** Queues a stored event for the other servers in the room. They are sent to once `onQueued` is told of them. */
export function queueToRoom(server: RoomServer, room: Room, event: EventNid): ReadonlySet<ServerName> {
  return queueToServers(server, serversInRoom(server.store, room, server.serverName), event);
}

/** queueToRoom for a caller that knows the servers, `destinations`. */
export function queueToServers(
  server: RoomServer,
  destinations: ReadonlySet<ServerName>,
  event: EventNid,
): ReadonlySet<ServerName> {
  if (destinations.size > 0) server.store.write((writer) => queueEvent(writer, destinations, event));
  return destinations;
}
