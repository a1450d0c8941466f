/**
 * The prev_events of our join are where a resync asks for the state; a candidate that made them up would leave the room
 * partial for ever, for nobody could answer. So it must have them: asked beside its `send_join` answer, because only a
 * server in the room may ask. What it does not answer in time proves nothing, and counts as had.
 * Specification v1.19, server-server API, "Joining Rooms" and "Retrieving events".
 */

import type { EventId, ServerName } from '../../kernel/matrix/ids.js';
import type { JsonObject, JsonValue } from '../../kernel/matrix/json.js';
import { isJsonObject } from '../../kernel/matrix/json.js';
import type { RoomVersionRules } from '../../kernel/matrix/room-versions.js';
import type { SignedEvent } from '../../kernel/signatures/sign-pdu.js';
import { RemoteError } from '../../remote/remote-error.js';
import { requestEvent } from '../../remote/state-requests.js';
import { eventNidOf, loadRecord, referencedIds } from '../../store/events.js';
import type { RoomNid } from '../../store/nids.js';
import { nameOfPdu } from '../intake/name-pdu.js';
import type { RoomServer } from '../room-server.js';
import type { JoinTemplate } from './check-template.js';
import { JoinRefused } from './judge-join-state.js';

/** A user waits, and a server that has just let us in has its own prev_events at hand. */
const PREV_EVENT_WAIT_MS = 5_000;

/** Throws JoinRefused where the template names an event of another room: after a prev_event its state would be this room's. */
export function checkTemplateRooms(
  { store }: RoomServer,
  room: RoomNid | undefined,
  candidate: ServerName,
  { prevEventIds, authEventIds }: JoinTemplate,
): void {
  const named = { prev_events: prevEventIds, auth_events: authEventIds };
  for (const [field, ids] of Object.entries(named)) {
    for (const id of ids) {
      const nid = eventNidOf(store, id);
      const record = nid === undefined ? undefined : loadRecord(store, nid);
      if (record !== undefined && record.roomNid !== room)
        throw new JoinRefused(`${candidate}: make_join: ${field} names ${id}, an event of another room`);
    }
  }
}

/** Throws JoinRefused where the candidate says that it does not have one of them, or gives another event for it. */
export async function checkPrevEvents(
  server: RoomServer,
  rules: RoomVersionRules,
  candidate: ServerName,
  join: SignedEvent,
): Promise<void> {
  const lacking = referencedIds(join.json.prev_events).filter((id) => {
    const nid = eventNidOf(server.store, id);
    return nid === undefined || loadRecord(server.store, nid) === undefined;
  });
  await Promise.all(lacking.map((id) => checkPrevEvent(server, rules, candidate, join, id)));
}

async function checkPrevEvent(
  server: RoomServer,
  rules: RoomVersionRules,
  candidate: ServerName,
  join: SignedEvent,
  id: EventId,
): Promise<void> {
  let bytes: Buffer;
  try {
    bytes = await requestEvent(server.client, candidate, id, undefined, PREV_EVENT_WAIT_MS);
  } catch (error) {
    if (!(error instanceof RemoteError)) throw error;
    if (error.status !== 404) return;
    throw new JoinRefused(`${candidate}: make_join: prev_events names ${id}, which it does not have`);
  }
  const pdu = pduIn(bytes);
  if (pdu?.room_id !== undefined && pdu.room_id !== join.json.room_id)
    throw new JoinRefused(
      `${candidate}: make_join: prev_events names ${id}, for which it gives an event of another room`,
    );
  // Where numbers are hashed as they were sent (room versions 1 to 5) a parsed event does not tell its ID for sure.
  if (!rules.strictCanonicalJson || (pdu !== undefined && nameOfPdu(rules, pdu) === id)) return;
  throw new JoinRefused(`${candidate}: make_join: prev_events names ${id}, for which it gives another event`);
}

function pduIn(bytes: Buffer): JsonObject | undefined {
  try {
    const pdu = JSON.parse(bytes.toString('utf8')) as JsonValue;
    return isJsonObject(pdu) ? pdu : undefined;
  } catch (error) {
    if (error instanceof SyntaxError) return undefined;
    throw error;
  }
}
