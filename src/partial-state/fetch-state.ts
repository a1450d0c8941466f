/**
 * Resync, second step: fetches, verifies and stores what `state_ids` listed and we lack. By one `/state` when a tenth or
 * more is missing, else event by event; what is stored already is neither verified nor written again.
 */

import { setImmediate as nextTurn, setTimeout as sleep } from 'node:timers/promises';
import type { EventId, ServerName } from '../kernel/matrix/ids.js';
import { atMinimumPace } from '../remote/minimum-pace.js';
import { RemoteError } from '../remote/remote-error.js';
import { requestEvent, requestStateBefore } from '../remote/state-requests.js';
import { putIngestRefusals, removeEvent } from '../room/intake/apply-judgements.js';
import type { IngestRefusal } from '../room/intake/ingest-events.js';
import { askedState, EventIngest } from '../room/intake/ingest-events.js';
import type { RoomServer } from '../room/room-server.js';
import { RecordFlag } from '../store/event-record.js';
import { eventVerdict, setEventStatuses, Verdict } from '../store/event-status.js';
import { eventNidOf, loadRecord } from '../store/events.js';
import type { EventNid } from '../store/nids.js';
import { NO_EVENT } from '../store/nids.js';
import type { Room } from '../store/rooms.js';
import { refusals, removeRefusal } from '../store/rooms.js';
import { askOthers } from './ask-others.js';
import type { ListedState } from './list-state.js';
import { idAt, listedVerdicts, nidAt } from './list-state.js';

/** From this share of missing events on, one `/state` is cheaper than asking for each. */
const WHOLE_STATE_SHARE = 0.1;
/** Records looked at between two turns of the event loop: about 4 ms. */
const RECORDS_A_TURN = 2_000;
/** `/event` requests at once. */
const EVENT_REQUESTS_MAX = 16;
/** Times that one `/event` is asked again after a 429; then the attempt ends and another server is asked. */
const LIMITED_WAITS_MAX = 20;
/** Wait after a 429 that names none, and the longest that is respected, in milliseconds. */
const LIMITED_WAIT_MS = 1000;
const LIMITED_WAIT_MS_MAX = 30_000;

/** Fetches through one server. Throws RemoteError or SplitError; what was stored by then stays. */
export async function fetchState(
  server: RoomServer,
  via: ServerName,
  room: Room,
  eventId: EventId,
  listed: ListedState,
  signal: AbortSignal,
): Promise<void> {
  const missing = await missingPositions(server, via, room, listed);
  const progress = server.progressOf(room.roomId);
  const stages = (['fetching', 'verifying', 'storing'] as const).map((name) => progress.start(name, missing.length));
  const before = { verified: progress.verifiedSignatures, stored: progress.storedEvents, bytes: progress.resyncBytes };
  let useful = 0;
  const ingest = new EventIngest(server, {
    ...askedState(room),
    lane: 'bulk',
    index: listed.index,
    // Each listed event may come in both fields.
    eventsMax: 2 * listed.count,
    onProgress: (counts) => {
      useful = counts.verified + counts.repeated;
      for (const stage of stages) stage.bytes = counts.bytes;
      const [fetching, verifying, storing] = stages;
      if (verifying !== undefined) verifying.done = Math.min(counts.verified, missing.length);
      if (storing !== undefined) storing.done = counts.stored;
      if (fetching !== undefined) fetching.done = Math.max(fetching.done, Math.min(counts.verified, missing.length));
      progress.verifiedSignatures = before.verified + counts.verified;
      progress.storedEvents = before.stored + counts.stored;
      progress.resyncBytes = before.bytes + counts.bytes;
    },
  });
  if (missing.length >= listed.count * WHOLE_STATE_SHARE) {
    const response = await requestStateBefore(server.client, via, 'state', room.roomId, eventId, signal);
    // Before or now: an event that is stored is as useful as a new one.
    const body = atMinimumPace(response.body, via, 'state', server.clock, () => useful);
    await ingest.read(body, new Set(['pdus', 'auth_chain']), () => undefined);
  } else {
    await fetchEvents(server, via, listed, missing, ingest, signal);
  }
  const result = await ingest.finish();
  progress.repeatedEvents += result.repeated;
  progress.repeatedBytes += result.repeatedBytes;
  progress.droppedEvents += result.dropped.length;
  progress.redactedEvents += result.redacted.length;
  server.store.write((writer) => putIngestRefusals(writer, room.nid, result.dropped, result.redacted));
  requireComplete(server, via, listed, result.dropped);
  await askOthers(server, via, room, listed, result.dropped, signal);
  forgetRefusals(server, room);
  for (const name of ['fetching', 'verifying', 'storing'] as const) progress.end(name);
}

/** Throws when something that was listed came neither good nor bad: another server may have it. */
function requireComplete(
  server: RoomServer,
  via: ServerName,
  listed: ListedState,
  dropped: readonly IngestRefusal[],
): void {
  const refused = new Set(dropped.map(({ eventId }) => eventId));
  const unnamed = dropped.filter(({ eventId }) => eventId === undefined).length;
  let withheld = 0;
  let example: EventId | undefined;
  for (const [position, verdict] of listedVerdicts(server, listed).entries()) {
    if (verdict !== Verdict.none) continue;
    const id = idAt(server, listed, position);
    if (refused.has(id)) continue;
    withheld += 1;
    example ??= id;
  }
  // What was dropped without a name may be any of them.
  if (withheld <= unnamed) return;
  throw new RemoteError('malformed', via, `state: ${withheld} listed events did not come, such as ${example}`);
}

/** An event that one server gave in a bad form, and another in a good one, was not refused in the end. */
function forgetRefusals({ store }: RoomServer, room: Room): void {
  const taken = [...refusals(store, room.nid)].filter(([eventId, { verdict }]) => {
    if (verdict !== 'dropped' && verdict !== 'redacted') return false;
    const nid = eventNidOf(store, eventId as EventId);
    if (nid === undefined || eventVerdict(store, nid) === Verdict.none) return false;
    return verdict === 'dropped' || ((loadRecord(store, nid)?.flags ?? 0) & RecordFlag.redacted) === 0;
  });
  if (taken.length === 0) return;
  store.write((writer) => {
    for (const [eventId] of taken) removeRefusal(writer, room.nid, eventId);
  });
}

/**
 * Positions of listed events that have no verified body here. An event that is stored must be of this room: a list that
 * names another room's events would smuggle them, judged there, into this room's state. One that was stored when a list did
 * not name its auth events is forgotten and comes again: its record has no numbers for them.
 */
async function missingPositions(
  server: RoomServer,
  via: ServerName,
  room: Room,
  listed: ListedState,
): Promise<number[]> {
  const missing: number[] = [];
  const incomplete: EventNid[] = [];
  let looked = 0;
  for (const [position, verdict] of listedVerdicts(server, listed).entries()) {
    if (verdict === Verdict.none) {
      missing.push(position);
      continue;
    }
    const record = loadRecord(server.store, nidAt(listed, position));
    if (record?.roomNid !== room.nid)
      throw new RemoteError('malformed', via, 'state_ids: lists an event of another room');
    if (verdict === Verdict.unjudged && record.authNids.includes(NO_EVENT)) {
      incomplete.push(nidAt(listed, position));
      missing.push(position);
    }
    looked += 1;
    if (looked % RECORDS_A_TURN === 0) await nextTurn();
  }
  if (incomplete.length > 0) {
    server.store.write((writer) => {
      for (const nid of incomplete) removeEvent(writer, nid);
      setEventStatuses(writer, incomplete, () => Verdict.none);
    });
  }
  return missing;
}

/** One event; where the server says that we ask too often, again when it lets us. */
async function requestWhenAllowed(
  server: RoomServer,
  via: ServerName,
  id: EventId,
  signal: AbortSignal,
): Promise<Buffer> {
  for (let wait = 0; ; wait++) {
    try {
      return await requestEvent(server.client, via, id, signal);
    } catch (error) {
      if (!(error instanceof RemoteError) || error.status !== 429 || wait >= LIMITED_WAITS_MAX) throw error;
      await sleep(Math.min(error.retryAfterMs ?? LIMITED_WAIT_MS, LIMITED_WAIT_MS_MAX), undefined, { signal });
    }
  }
}

async function fetchEvents(
  server: RoomServer,
  via: ServerName,
  listed: ListedState,
  missing: readonly number[],
  ingest: EventIngest,
  signal: AbortSignal,
): Promise<void> {
  let next = 0;
  const lanes = Array.from({ length: Math.min(EVENT_REQUESTS_MAX, missing.length) }, async () => {
    while (next < missing.length) {
      const position = missing[next++] as number;
      const id = idAt(server, listed, position);
      try {
        ingest.add('pdus', await requestWhenAllowed(server, via, id, signal));
      } catch (error) {
        // The others are fetched all the same, so that the next server has less to give; anything else ends the attempt.
        if (!(error instanceof RemoteError) || error.kind !== 'refused' || error.status !== 404) throw error;
      }
    }
  });
  await Promise.all(lanes);
}
