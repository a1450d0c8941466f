/**
 * Job: events in the form that clients see, as JSON text of a list's inside (comma-separated), so that an answer of
 * 85,000 members is written on the workers and only its bytes cross over.
 * Specification v1.19, client-server API, "Room event format".
 */

import type { RoomId } from '../../kernel/matrix/ids.js';
import type { JsonObject, JsonValue } from '../../kernel/matrix/json.js';
import type { LoadedEvent } from '../../store/events.js';
import { loadEvent } from '../../store/events.js';
import type { EventNid } from '../../store/nids.js';
import type { WorkerContext } from '../worker-context.js';

/** Events in one batch: about 10 ms at 10 us each. */
export const CLIENT_BATCH_EVENTS_MAX = 1024;

export interface ClientEventsInput {
  readonly roomVersion: string;
  readonly roomId: RoomId;
  readonly nids: Uint32Array<ArrayBuffer>;
}

export interface ClientEventsOutput {
  /** `{...},{...}`; empty when none of the events has a body. */
  readonly bytes: Uint8Array<ArrayBuffer>;
}

export function clientEvents(input: ClientEventsInput, context: WorkerContext): ClientEventsOutput {
  const rules = context.rulesOf(input.roomVersion);
  const parts: string[] = [];
  for (const nid of input.nids) {
    const event = loadEvent(context.reader, rules, nid as EventNid);
    if (event !== undefined) parts.push(JSON.stringify(clientEventOf(event, input.roomId)));
  }
  return { bytes: new Uint8Array(new TextEncoder().encode(parts.join(','))) };
}

/** The client's form of a stored event. `unsigned`: what the server adds, such as a transaction ID. */
export function clientEventOf(event: LoadedEvent, roomId: RoomId, unsigned?: JsonObject): JsonObject {
  const { json, record } = event;
  const client: Record<string, JsonValue> = {
    type: record.type,
    room_id: roomId,
    sender: record.sender,
    content: json.content ?? {},
    event_id: event.eventId,
    origin_server_ts: record.originServerTs,
  };
  if (record.stateKey !== undefined) client.state_key = record.stateKey;
  const redacts = json.redacts;
  if (typeof redacts === 'string') client.redacts = redacts;
  if (unsigned !== undefined) client.unsigned = unsigned;
  return client;
}
