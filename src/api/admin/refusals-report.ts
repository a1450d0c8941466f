/** Every event of a room that was not taken as it came: dropped, rejected, redacted or soft-failed, with code and reason. */

import type { RoomId } from '../../kernel/matrix/ids.js';
import type { JsonObject } from '../../kernel/matrix/json.js';
import type { RoomServer } from '../../room/room-server.js';
import { refusals, roomNidOf } from '../../store/rooms.js';

/** Refusals in one answer. */
const REFUSALS_MAX = 100_000;

export function refusalsReport(server: RoomServer, roomId: RoomId): JsonObject {
  const nid = roomNidOf(server.store, roomId);
  const list: JsonObject[] = [];
  if (nid !== undefined) {
    for (const [eventId, { verdict, code, reason }] of refusals(server.store, nid)) {
      if (list.length >= REFUSALS_MAX) break;
      list.push({ event_id: eventId, verdict, code, reason });
    }
  }
  return { room_id: roomId, refusals: list };
}
