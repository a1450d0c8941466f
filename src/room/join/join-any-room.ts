/**
 * A join as a user asks for it, whether this server knows the room or not. Which of the two it is decided in the room's queue:
 * another user's join may bring the room while this one waits.
 */

import { loadRoom } from '../../store/rooms.js';
import type { RoomServer } from '../room-server.js';
import { joinKnownRoom } from './join-known-room.js';
import type { JoinRequest } from './join-room.js';
import { joinRoom } from './join-room.js';

/** Joins a local user. Throws MatrixError. */
export async function joinAnyRoom(server: RoomServer, request: JoinRequest): Promise<void> {
  const isKnown = () => (loadRoom(server.store, request.roomId)?.residency ?? 'absent') !== 'absent';
  const joined =
    !isKnown() &&
    (await server.queues.run(request.roomId, async () => {
      if (isKnown()) return false;
      await joinRoom(server, request);
      return true;
    }));
  if (!joined) await joinKnownRoom(server, request);
}
