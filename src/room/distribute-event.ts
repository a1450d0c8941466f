/**
 * Who gets an event of ours: every server with a joined member; while the room has partial state, every server that the
 * resident named and every server of a known member that joined since. Queued with the event; remote/ sends.
 */

import type { ServerName } from '../kernel/matrix/ids.js';
import type { StoreReader } from '../store/open-store.js';
import type { Room } from '../store/rooms.js';
import { joinedServers, loadPartialState } from '../store/rooms.js';

/** Other servers in a room, as far as we know. */
export function serversInRoom(reader: StoreReader, room: Room, own: ServerName): Set<ServerName> {
  const servers = new Set<ServerName>();
  for (const [name] of joinedServers(reader, room.nid)) servers.add(name);
  for (const name of loadPartialState(reader, room.nid)?.servers ?? []) servers.add(name);
  servers.delete(own);
  return servers;
}
