/**
 * Verifies and stores a few single events of one room: what was pushed to us, what we asked for by name, what is ours.
 * The door of a huge response is ingest-events.ts; this is the same door for a handful.
 * Specification v1.19, server-server API, "Checks performed on receipt of a PDU", steps 1 to 3.
 */

import type { EventNid } from '../../store/nids.js';
import type { Room } from '../../store/rooms.js';
import type { Lane } from '../../workers/pool.js';
import type { RoomServer } from '../room-server.js';
import type { IngestRefusal } from './ingest-events.js';
import { EventIngest } from './ingest-events.js';

/** The room the events must be of; it may have no row yet. */
export type IngestRoom = Pick<Room, 'nid' | 'roomId' | 'version'>;

/** What differs between the callers. */
export interface IngestPdusOptions {
  /** What is not a state event is dropped; default false. */
  readonly stateOnly?: boolean;
  /** The limits on prev_events and auth_events apply; default true. */
  readonly pushed?: boolean;
  /** Default `interactive`. */
  readonly lane?: Lane;
}

export interface IngestedPdus {
  /** The verified events, stored before or now. */
  readonly nids: readonly EventNid[];
  readonly dropped: readonly IngestRefusal[];
}

const FIELD = 'pdus';

/** Stores what verifies, unjudged. `pdus`: each one's JSON in bytes, kept as it is but for `unsigned`. */
export async function ingestPdus(
  server: RoomServer,
  { nid, roomId, version }: IngestRoom,
  pdus: readonly Uint8Array[],
  { stateOnly = false, pushed = true, lane = 'interactive' }: IngestPdusOptions = {},
): Promise<IngestedPdus> {
  const ingest = new EventIngest(server, {
    roomVersion: version,
    roomId,
    roomNid: nid,
    stateOnly,
    pushed,
    lane,
    index: undefined,
  });
  for (const pdu of pdus) ingest.add(FIELD, pdu);
  const { nidsByField, dropped } = await ingest.finish();
  return { nids: nidsByField.get(FIELD) ?? [], dropped };
}
