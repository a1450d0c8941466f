/**
 * Job: events in the form that clients see, as JSON text of a list's inside (comma-separated), so that an answer of
 * 85,000 members is written on the workers and only its bytes cross over. Ordinary PDUs are not parsed: their bytes are
 * sliced (slice-client-event.ts); what is redacted, has an opaque ID or is unusual takes the way of parsing.
 * Specification v1.19, client-server API, "Room event format".
 */

import type { RoomId } from '../../kernel/matrix/ids.js';
import type { JsonObject, JsonValue } from '../../kernel/matrix/json.js';
import type { RoomVersionRules } from '../../kernel/matrix/room-versions.js';
import { isSliceable, recordEventKey, recordMembershipCode } from '../../store/event-record.js';
import { eventStatusPages, StatusBit } from '../../store/event-status.js';
import type { LoadedEvent } from '../../store/events.js';
import { loadEvent } from '../../store/events.js';
import type { EventNid } from '../../store/nids.js';
import type { WorkerContext } from '../worker-context.js';
import { ClientEventWriter } from './slice-client-event.js';

/** Events in one batch: about 10 ms at 4 us each. */
export const CLIENT_BATCH_EVENTS_MAX = 2048;

export interface ClientEventsInput {
  readonly roomVersion: string;
  readonly roomId: RoomId;
  readonly nids: Uint32Array<ArrayBuffer>;
  /** Memberships that are wanted, a bit for each code of event-record.ts; undefined: events of every type. */
  readonly memberships: number | undefined;
}

export interface ClientEventsOutput {
  /** `{...},{...}`; empty when none of the events has a body. */
  readonly bytes: Uint8Array<ArrayBuffer>;
}

export function clientEvents(input: ClientEventsInput, context: WorkerContext): ClientEventsOutput {
  const { roomId, nids, memberships } = input;
  const { event_record_by_nid: records, event_body_by_nid: bodies } = context.reader.tables;
  const rules = context.rulesOf(input.roomVersion);
  const writer = new ClientEventWriter(roomId, nids.length);
  const statusOf = eventStatusPages(context.reader);
  for (const nid of nids as Iterable<number> as Iterable<EventNid>) {
    const record = records.getBinaryFast(nid);
    if (record === undefined) continue;
    if (memberships !== undefined && ((memberships >>> recordMembershipCode(record)) & 1) === 0) continue;
    // The next read overwrites the record.
    const key = isSliceable(record) ? recordEventKey(record) : undefined;
    const sliceable = key !== undefined && (statusOf(nid) & StatusBit.redacted) === 0;
    const body = sliceable ? bodies.getBinaryFast(nid) : undefined;
    if (body === undefined || key === undefined || !writer.append(body, key))
      appendParsed(context, rules, roomId, nid, writer);
  }
  return { bytes: writer.finish() };
}

function appendParsed(
  context: WorkerContext,
  rules: RoomVersionRules,
  roomId: RoomId,
  nid: EventNid,
  writer: ClientEventWriter,
): void {
  const event = loadEvent(context.reader, rules, nid);
  if (event !== undefined) writer.appendText(JSON.stringify(clientEventOf(event, roomId)));
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
