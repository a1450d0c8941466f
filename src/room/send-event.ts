/**
 * An event of one of our users: built on the room's forward extremities, authorised, signed, stored and queued for the
 * other servers. It takes the same way in as an event of somebody else.
 */

import { checkAuthRules } from '../kernel/event-auth/check-auth-rules.js';
import { CanonicalJsonError } from '../kernel/matrix/canonical-json.js';
import type { EventId, RoomId } from '../kernel/matrix/ids.js';
import { MatrixError } from '../kernel/matrix/matrix-error.js';
import { hashAndSignPdu } from '../kernel/signatures/sign-pdu.js';
import { authEventOf, eventIdOfNid, loadEvent, loadRecord } from '../store/events.js';
import type { EventNid } from '../store/nids.js';
import type { StoreWriter } from '../store/open-store.js';
import type { Room } from '../store/rooms.js';
import { loadRoom } from '../store/rooms.js';
import { queueEvent } from '../store/transactions.js';
import { acceptEvent } from './accept-event.js';
import type { EventIntent } from './build-event.js';
import { buildEvent, selectAuthEvents } from './build-event.js';
import { serversInRoom } from './distribute-event.js';
import { ingestPdus } from './intake/ingest-pdus.js';
import type { RoomServer } from './room-server.js';
import { storedState } from './room-state.js';

/** prev_events of an event of ours; the specification allows 20. */
export const OWN_PREV_EVENTS_MAX = 10;

/**
 * Sends an event; it is stored (fsynced) and queued when this resolves. `alongside`: written with it. Throws MatrixError.
 */
export function sendEvent(
  server: RoomServer,
  roomId: RoomId,
  intent: EventIntent,
  alongside?: (writer: StoreWriter, eventId: EventId) => void,
): Promise<EventId> {
  return server.queues.run(roomId, async () => {
    const room = loadRoom(server.store, roomId);
    if (room === undefined) throw new MatrixError(404, 'M_NOT_FOUND', `the room ${roomId} is not known here`);
    const nid = await storeOwn(server, room, intent);
    const eventId = eventIdOfNid(server.store, nid);
    // As the room was before it: whom the event removes is to hear of it.
    const destinations = serversInRoom(server.store, room, server.serverName);
    const { verdict, reason } = await acceptEvent(server, roomId, nid, (writer) => {
      queueEvent(writer, destinations, nid);
      alongside?.(writer, eventId);
    });
    if (verdict !== 'accepted') throw new MatrixError(403, 'M_FORBIDDEN', reason ?? 'the event is not allowed');
    server.onQueued(destinations);
    return eventId;
  });
}

async function storeOwn(server: RoomServer, room: Room, intent: EventIntent): Promise<EventNid> {
  const state = storedState(server.store, room, room.currentGroup);
  const prevs = room.extremities.slice(-OWN_PREV_EVENTS_MAX);
  const place = {
    roomId: room.roomId,
    authEventIds: selectAuthEvents(room.rules, intent, state),
    prevEventIds: prevs.map((nid) => eventIdOfNid(server.store, nid)),
    depth: Math.max(0, ...prevs.map((nid) => loadRecord(server.store, nid)?.depth ?? 0)),
    now: server.clock(),
    random: server.random,
  };
  let text: string;
  try {
    text = JSON.stringify(hashAndSignPdu(room.rules, buildEvent(room.rules, intent, place), server.signingKey).json);
  } catch (error) {
    if (error instanceof CanonicalJsonError) throw new MatrixError(400, 'M_BAD_JSON', `content: ${error.message}`);
    throw error;
  }
  const { nids, dropped } = await ingestPdus(server, room, [Buffer.from(text, 'utf8')]);
  const [nid] = nids;
  if (nid === undefined)
    throw new MatrixError(413, 'M_TOO_LARGE', `the event is not valid: ${dropped[0]?.reason ?? 'unknown'}`);
  const event = loadEvent(server.store, room.rules, nid);
  if (event === undefined) throw new Error('an event that was just stored is gone');
  const verdict = checkAuthRules(room.rules, authEventOf(event, room.roomId), state);
  if (!verdict.allowed) throw new MatrixError(403, 'M_FORBIDDEN', verdict.reason);
  return nid;
}
