/**
 * Tries a resync now, as if no server had failed: an operator knows that one is back, and need not wait for a back-off of
 * up to an hour. Answers with the report. One that runs or waits for its turn goes on as it is.
 */

import type { RoomId } from '../../kernel/matrix/ids.js';
import type { JsonObject } from '../../kernel/matrix/json.js';
import { MatrixError } from '../../kernel/matrix/matrix-error.js';
import type { RoomServer } from '../../room/room-server.js';
import { loadRoom } from '../../store/rooms.js';
import { resyncReport } from './resync-report.js';

/** `tryNow` is called for a room with partial state only. */
export function resyncNow(server: RoomServer, roomId: RoomId, tryNow: (roomId: RoomId) => void): JsonObject {
  const room = loadRoom(server.store, roomId);
  if (room === undefined) throw new MatrixError(404, 'M_NOT_FOUND', `the room ${roomId} is not known here`);
  if (room.residency === 'full-state')
    throw new MatrixError(400, 'M_BAD_STATE', `the room ${roomId} has full state: nothing is missing`);
  if (room.residency === 'paused')
    throw new MatrixError(400, 'M_BAD_STATE', `none of our users is in the room ${roomId}: its resync is paused`);
  tryNow(roomId);
  return resyncReport(server, roomId);
}
