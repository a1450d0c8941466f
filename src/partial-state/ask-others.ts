/**
 * Resync, after the second step: what one server gave in a bad form is asked of others. An event ID stands for all of an
 * event but its signatures, `unsigned`, and the content that a redaction removes; a liar can spoil those of a genuine event,
 * which would then be missing here, or redacted, for good.
 *
 * Most such events are bad everywhere, so what others are asked is bounded: of many, some are asked for, and a good one
 * among these shows that the server lies. Then the attempt fails, and another server gives all of them.
 */

import { eventKeyOf } from '../kernel/matrix/event-key.js';
import type { EventId, ServerName } from '../kernel/matrix/ids.js';
import { isPassing, RemoteError } from '../remote/remote-error.js';
import { requestEvent } from '../remote/state-requests.js';
import { removeEvent } from '../room/intake/apply-judgements.js';
import type { IngestRefusal } from '../room/intake/ingest-events.js';
import { askedState, EventIngest } from '../room/intake/ingest-events.js';
import { mayBeReplaced } from '../room/intake/store-verified.js';
import type { RoomServer } from '../room/room-server.js';
import { eventVerdict, Verdict } from '../store/event-status.js';
import type { EventNid } from '../store/nids.js';
import type { Room } from '../store/rooms.js';
import { joinedServers, loadPartialState, refusals } from '../store/rooms.js';
import { positionOf } from '../workers/event-index.js';
import type { ListedState } from './list-state.js';
import { idAt, listedVerdicts, nidAt } from './list-state.js';

/** Other servers that answer about events of one kind, each of which may lie as well; and that are tried for it. */
export const OTHERS_ASKED_MAX = 3;
export const OTHERS_TRIED_MAX = 10;
/** Attempts that fail because none of them answers; then the events are left out: the others may be gone for good. */
export const DOUBTFUL_ATTEMPTS_MAX = 3;
/** Events of one kind that are asked for one by one. */
export const EVENTS_ASKED_MAX = 200;
/** Of more than that, so many: where one in ten was spoilt, eighteen attempts in twenty find one that was. */
export const EVENTS_SAMPLED = 20;
/** Wait for one of them: nobody computes anything for it. */
const EVENT_WAIT_MS = 10_000;
/** Requests at once. */
const REQUESTS_MAX = 16;

/** Most of these are of servers that are gone for good: no reason to wait for the others. */
const KEYLESS = 'with signatures by keys that cannot be had';

/** What is wrong with events, and which. */
interface Suspects {
  readonly what: string;
  readonly positions: readonly number[];
}

/**
 * Asks others for listed events that `via` gave in a bad form, and stores what is good. Throws RemoteError when there are
 * too many of them to be asked for and some are good elsewhere, and at first also when none of the others answers.
 */
export async function askOthers(
  server: RoomServer,
  via: ServerName,
  room: Room,
  listed: ListedState,
  dropped: readonly IngestRefusal[],
  signal: AbortSignal,
): Promise<void> {
  const others = otherServers(server, room, via);
  if (others.length === 0) return;
  /** Those that are down are waited for once. */
  const gone = new Set<ServerName>();
  for (const { what, positions } of suspectsIn(server, room, listed, dropped)) {
    const asked = positions.length > EVENTS_ASKED_MAX ? sample(server, positions) : positions;
    let left = asked;
    let answers = 0;
    for (const other of others) {
      if (left.length === 0 || answers === OTHERS_ASKED_MAX) break;
      if (gone.has(other)) continue;
      const answered = await askOne(server, other, room, listed, left, signal);
      if (answered.isThere) answers += 1;
      else gone.add(other);
      left = answered.left;
    }
    if (left.length > 0 && answers === 0 && what !== KEYLESS && mayFail(server, room)) {
      forget(server, listed, positions);
      throw new RemoteError('unreachable', via, `state: ${left.length} events came ${what}, and nobody else answers`);
    }
    if (left.length === asked.length || asked.length === positions.length) continue;
    forget(server, listed, positions);
    const found = asked.length - left.length;
    throw new RemoteError(
      'malformed',
      via,
      `state: ${positions.length} events came ${what}, and of ${asked.length} of them others have ${found} that are good`,
    );
  }
}

/** Whether the room has had few enough attempts for one more to fail because nobody could be asked. */
function mayFail({ store }: RoomServer, room: Room): boolean {
  return (loadPartialState(store, room.nid)?.attempts ?? 0) < DOUBTFUL_ATTEMPTS_MAX;
}

/** Events that are missing for their form, those without a key apart (there may be thousands), and the redacted ones. */
function suspectsIn(
  server: RoomServer,
  room: Room,
  listed: ListedState,
  dropped: readonly IngestRefusal[],
): readonly Suspects[] {
  const withoutKey = new Set(dropped.filter(({ code }) => code === 'no-key').map(({ eventId }) => eventId));
  const [spoilt, keyless, redacted]: [number[], number[], number[]] = [[], [], []];
  for (const [position, verdict] of listedVerdicts(server, listed).entries()) {
    if (verdict !== Verdict.none) continue;
    if (withoutKey.has(idAt(server, listed, position))) keyless.push(position);
    else spoilt.push(position);
  }
  // Of this attempt, of one before, and of our join.
  for (const [eventId, { verdict }] of refusals(server.store, room.nid)) {
    const position = verdict === 'redacted' ? positionOf(listed.index, eventKeyOf(eventId as EventId), 0) : -1;
    if (position >= 0 && mayBeReplaced(server.store, nidAt(listed, position))) redacted.push(position);
  }
  return [
    { what: 'in a form that does not verify', positions: spoilt },
    { what: KEYLESS, positions: keyless },
    { what: 'with content that is not what was hashed', positions: redacted },
  ];
}

function sample(server: RoomServer, positions: readonly number[]): readonly number[] {
  const left = [...positions];
  return Array.from(
    { length: EVENTS_SAMPLED },
    () => left.splice(Math.floor(server.random() * left.length), 1)[0] as number,
  );
}

/** Who let us in, servers of members that we know, and those that were named; without the one that is in doubt. */
function otherServers({ store, serverName }: RoomServer, room: Room, via: ServerName): ServerName[] {
  const row = loadPartialState(store, room.nid);
  const known = [...joinedServers(store, room.nid)].map(([name]) => name);
  const named = row === undefined ? known : [row.joinedVia, ...known, ...row.servers];
  return [...new Set(named)].filter((name) => name !== via && name !== serverName).slice(0, OTHERS_TRIED_MAX);
}

/** Asks one server for these events and stores them. Those that are still not good, and whether it answers at all. */
async function askOne(
  server: RoomServer,
  other: ServerName,
  room: Room,
  listed: ListedState,
  positions: readonly number[],
  signal: AbortSignal,
): Promise<{ readonly left: readonly number[]; readonly isThere: boolean }> {
  const ingest = new EventIngest(server, {
    ...askedState(room),
    lane: 'bulk',
    index: listed.index,
    replaceRedacted: true,
  });
  let next = 0;
  let isGone = false;
  const lanes = Array.from({ length: Math.min(REQUESTS_MAX, positions.length) }, async () => {
    for (let at = next++; at < positions.length && !isGone; at = next++) {
      const id = idAt(server, listed, positions[at] as number);
      try {
        ingest.add('pdus', await requestEvent(server.client, other, id, signal, EVENT_WAIT_MS));
      } catch (error) {
        if (!(error instanceof RemoteError)) throw error;
        // It does not have this one, or does not answer at all.
        isGone ||= isPassing(error) || error.kind === 'address-refused';
      }
    }
  });
  await Promise.all(lanes);
  const { stored } = await ingest.finish();
  const progress = server.progressOf(room.roomId);
  progress.verifiedSignatures += stored;
  progress.storedEvents += stored;
  const isGood = (position: number) => {
    const nid = nidAt(listed, position);
    return eventVerdict(server.store, nid) !== Verdict.none && !mayBeReplaced(server.store, nid);
  };
  const left = positions.filter((position) => !isGood(position));
  const events = positions.length - left.length;
  if (events > 0) server.log.info({ room: room.roomId, other, events }, 'another server had good copies of bad events');
  return { left, isThere: !isGone };
}

/** What is not judged yet of these comes again, from a server that does not lie. */
function forget(server: RoomServer, listed: ListedState, positions: readonly number[]): void {
  server.store.write((writer) => {
    for (const position of positions) {
      const nid: EventNid = nidAt(listed, position);
      if (eventVerdict(writer, nid) === Verdict.unjudged) removeEvent(writer, nid);
    }
  });
}
