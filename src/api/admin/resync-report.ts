/** How far joining and resynchronising a room has come, where it stands now, and when it is tried again. */

import type { RoomId } from '../../kernel/matrix/ids.js';
import type { JsonObject } from '../../kernel/matrix/json.js';
import { MatrixError } from '../../kernel/matrix/matrix-error.js';
import type { RoomServer } from '../../room/room-server.js';
import { loadPartialState, loadRoom, roomNidOf } from '../../store/rooms.js';

export function resyncReport(server: RoomServer, roomId: RoomId): JsonObject {
  const nid = roomNidOf(server.store, roomId);
  if (nid === undefined) throw new MatrixError(404, 'M_NOT_FOUND', `the room ${roomId} is not known here`);
  const progress = server.progressOf(roomId);
  const row = loadPartialState(server.store, nid);
  const { current } = progress;
  return {
    room_id: roomId,
    residency: loadRoom(server.store, roomId)?.residency ?? 'absent',
    stage: current.name,
    stage_status: current.status,
    done: current.done,
    total: current.total,
    bytes: current.bytes,
    server: progress.server ?? null,
    attempts: row?.attempts ?? 0,
    next_try_ts: row?.nextTryTs ?? 0,
    last_failure: row === undefined ? null : (progress.failure ?? row.lastFailure ?? null),
    send_join_bytes: progress.sendJoinBytes,
    resync_bytes: progress.resyncBytes,
    counts: {
      verified_signatures: progress.verifiedSignatures,
      stored_events: progress.storedEvents,
      repeated_events: progress.repeatedEvents,
      repeated_bytes: progress.repeatedBytes,
      rejected_events: progress.rejectedEvents,
      dropped_events: progress.droppedEvents,
      redacted_events: progress.redactedEvents,
    },
    stages: progress.stages.map(({ name, status, done, total, bytes, startedTs, endedTs }) => ({
      name,
      status,
      done,
      total,
      bytes,
      started_ts: startedTs === 0 ? null : startedTs,
      ended_ts: endedTs === 0 ? null : endedTs,
    })),
  };
}
