/**
 * Events in the form in which one other server may see them: whole, or redacted where the history visibility of the room
 * hides them from its users, and where our own state is too partial to tell. The redacted form keeps the room's graph whole.
 * Specification v1.19, client-server API, "Room History Visibility"; MSC3902.
 */

import type { ServerName } from '../../kernel/matrix/ids.js';
import { serverNameOf } from '../../kernel/matrix/ids.js';
import type { JsonObject } from '../../kernel/matrix/json.js';
import { redactEvent } from '../../kernel/matrix/redact.js';
import type { RoomServer } from '../../room/room-server.js';
import { storedState } from '../../room/room-state.js';
import { loadEvent } from '../../store/events.js';
import type { EventNid, StateGroupNid, StateKeyNid } from '../../store/nids.js';
import type { Room } from '../../store/rooms.js';
import { isPartialStateEvent } from '../../store/rooms.js';
import { eventContext } from '../../store/timeline.js';
import { memberPlaces, wasIn } from './users-of-server.js';

/**
 * Events as `origin` may see them; those that are not here are left out. `redactPartial`: others' events whose state is
 * partial are redacted (`backfill`, `get_missing_events`), else judged by the state that we have (`event`).
 */
export async function visiblePdus(
  server: RoomServer,
  room: Room,
  origin: ServerName,
  nids: readonly EventNid[],
  redactPartial: boolean,
): Promise<JsonObject[]> {
  const pdus: JsonObject[] = [];
  let places: readonly StateKeyNid[] | undefined;
  for (const nid of nids) {
    const event = loadEvent(server.store, room.rules, nid);
    if (event === undefined) continue;
    let visible = serverNameOf(event.record.sender) === origin;
    if (!visible && redactPartial && isPartialStateEvent(server.store, room.nid, nid)) {
      visible = serverNameOf(event.record.sender) === server.serverName;
    } else if (!visible) {
      const group = eventContext(server.store, nid)?.after;
      const visibility = group === undefined ? 'shared' : visibilityIn(server, room, group);
      visible = visibility === 'shared' || visibility === 'world_readable';
      if (!visible && group !== undefined) {
        places ??= await memberPlaces(server.store, room, origin);
        visible = wasIn(server.store, group, places, visibility === 'invited');
      }
    }
    pdus.push(visible ? event.json : redactEvent(room.rules.redaction, event.json));
  }
  return pdus;
}

function visibilityIn(server: RoomServer, room: Room, group: StateGroupNid): string {
  const content = storedState(server.store, room, group)('m.room.history_visibility', '')?.content;
  const visibility = content?.history_visibility;
  return visibility === 'joined' || visibility === 'invited' || visibility === 'world_readable' ? visibility : 'shared';
}
