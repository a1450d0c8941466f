/**
 * A join into a room in which this server is already: another of our users, or one who comes back. We hold its state (in
 * part or whole), so the join is an event of ours like any other.
 */

import type { RoomServer } from '../room-server.js';
import { sendEvent } from '../send-event.js';
import type { JoinRequest } from './join-room.js';

/** Joins a local user. Throws MatrixError (403 where the state does not allow it). */
export async function joinKnownRoom(server: RoomServer, request: JoinRequest): Promise<void> {
  const { roomId, userId, profile } = request;
  const content = { ...profile, membership: 'join' };
  await sendEvent(server, roomId, { type: 'm.room.member', sender: userId, stateKey: userId, content });
}
