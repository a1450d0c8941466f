/**
 * Compares hs2's room with that of the full join: rejected events, states around each event, redactions, forward extremities and
 * current state must be the same.
 *
 * The only difference allowed is what the full join soft-failed: of events that came while the state was partial the other
 * one soft-fails none. From the first of these on the two hold different current states, so that a later event may be
 * soft-failed by the one and not by the other; that is allowed only where its verdict is worked out from what each had
 * accepted until then. Each such event is named, with the reason. Everything else is a difference that must not be.
 */

import type { EventId } from '../../../src/kernel/matrix/ids.js';
import { serverNameOf } from '../../../src/kernel/matrix/ids.js';
import { eventStatus, StatusBit } from '../../../src/store/event-status.js';
import { eventIdOfNid, eventNidOf, loadRecord } from '../../../src/store/events.js';
import type { EventNid } from '../../../src/store/nids.js';
import type { StoreReader } from '../../../src/store/open-store.js';
import type { Room } from '../../../src/store/rooms.js';
import { eventContext } from '../../../src/store/timeline.js';
import type { Federation } from '../federation.js';
import { HS2 } from '../federation.js';
import type { FederationServer } from '../federation-server.js';
import { HeldRoom } from './held-room.js';
import { name, standing, stateOf } from './read-room.js';
import type { AllowedWhy } from './why-allowed.js';
import { whyAllowed } from './why-allowed.js';

/** An event that was accepted by one of the two and soft-failed by the other, as it must. */
export interface AllowedDifference {
  readonly eventId: EventId;
  /** The event for people. */
  readonly name: string;
  readonly softFailedBy: 'full' | 'partial';
  readonly why: AllowedWhy;
}

export interface Comparison {
  /** What differs and must not; empty: as it should be. */
  readonly differences: readonly string[];
  readonly allowed: readonly AllowedDifference[];
  readonly events: number;
  readonly rejected: number;
  /** Events whose verdict was another while the state was partial. */
  readonly flipped: number;
}

/** `events`: hs2's timeline in the order in which it decided, all of it in the full join's timeline too. */
export async function compareRooms(
  federation: Federation,
  full: FederationServer,
  events: readonly EventId[],
): Promise<Comparison> {
  const { hs2, roomId } = federation;
  const [ours, theirs] = [hs2.store, full.store];
  const room = hs2.loadRoom(roomId) as Room;
  const fullRoom = full.loadRoom(roomId) as Room;
  const held = new HeldRoom(full.room, fullRoom);
  const heldByFull = new HeldRoom(full.room, fullRoom);
  const differences: string[] = [];
  const allowed: AllowedDifference[] = [];
  let rejected = 0;
  let flipped = 0;
  for (const id of events) {
    const [our, their] = [eventNidOf(ours, id) as EventNid, eventNidOf(theirs, id) as EventNid];
    const [a, b] = [standing(ours, our), standing(theirs, their)];
    if (a === 'rejected') rejected += 1;
    if (hs2.rejectedAtFirst.get(our) !== (a === 'rejected')) flipped += 1;
    if (a !== b) {
      const why = whyAllowed({
        standings: [a, b],
        softFails: [await held.softFails(their), await heldByFull.softFails(their)],
        whilePartial: hs2.decidedWhilePartial.has(our),
        ownJoin: isOwnJoin(ours, our),
        differsBefore: allowed.length > 0,
      });
      if (why === undefined) differences.push(`${name(ours, id)} is ${a}, a full join has it ${b}`);
      else
        allowed.push({ eventId: id, name: name(ours, id), softFailedBy: b === 'accepted' ? 'partial' : 'full', why });
    }
    held.take(their, a === 'accepted');
    heldByFull.take(their, b === 'accepted');
    differences.push(...contextDifferences(ours, theirs, id));
  }
  differences.push(...outlierDifferences(ours, theirs, events));
  differences.push(...redactionDifferences(ours, theirs, events, held, allowed));
  differences.push(...endDifferences(ours, theirs, room, held));
  const [ourState, theirState] = [stateOf(ours, room.currentGroup), stateOf(theirs, await held.currentGroup())];
  for (const [key, [a, b]] of changesBetween(ourState, theirState)) {
    const nid = b === undefined ? undefined : eventNidOf(ours, b);
    const refusal = b === undefined ? undefined : ours.tables.refusals.get([room.nid, b]);
    const here = nid === undefined ? 'unknown here' : `here ${standing(ours, nid)} ${JSON.stringify(refusal) ?? ''}`;
    differences.push(`${key} is ${a && name(ours, a)} and should be ${b && name(theirs, b)}, ${here}`);
  }
  return { differences, allowed, events: events.length, rejected, flipped };
}

function isOwnJoin(reader: StoreReader, nid: EventNid): boolean {
  const record = loadRecord(reader, nid);
  const isJoin = record?.type === 'm.room.member' && record.membership === 'join' && record.stateKey === record.sender;
  return isJoin && serverNameOf(record.sender) === HS2;
}

/** The states before and after an event rest on the graph alone: no verdict of a soft failure changes them. */
function contextDifferences(ours: StoreReader, theirs: StoreReader, id: EventId): string[] {
  const contexts = [ours, theirs].map((reader) => eventContext(reader, eventNidOf(reader, id) as EventNid));
  const [our, their] = contexts;
  if (our === undefined || their === undefined) return [`${name(ours, id)} has no state`];
  return (['before', 'after'] as const).flatMap((where) =>
    [...changesBetween(stateOf(ours, our[where]), stateOf(theirs, their[where]))].map(
      ([key, [a, b]]) =>
        `${where} ${name(ours, id)} ${key} is ${a && name(ours, a)} and should be ${b && name(theirs, b)}`,
    ),
  );
}

/** What both know beside the timeline, the state that came and its auth events, is judged by its auth events alone. */
function outlierDifferences(ours: StoreReader, theirs: StoreReader, events: readonly EventId[]): string[] {
  const inTimeline = new Set(events);
  const end = (ours.tables.meta.get('next_event_nid') as number | undefined) ?? 1;
  const wrong: string[] = [];
  for (let nid = 1; nid < end; nid++) {
    if (loadRecord(ours, nid as EventNid) === undefined) continue;
    const id = eventIdOfNid(ours, nid as EventNid);
    const their = inTimeline.has(id) ? undefined : eventNidOf(theirs, id);
    if (their === undefined) continue;
    const [a, b] = [standing(ours, nid as EventNid), standing(theirs, their)];
    if (a !== b && a !== 'not judged' && b !== 'not judged')
      wrong.push(`${name(ours, id)}, no event of the timeline, is ${a}, a full join has it ${b}`);
  }
  return wrong;
}

/** Redacted is what the full join has redacted, but for the targets of redactions on which the two differ as they may. */
function redactionDifferences(
  ours: StoreReader,
  theirs: StoreReader,
  events: readonly EventId[],
  held: HeldRoom,
  allowed: readonly AllowedDifference[],
): string[] {
  const theirNid = (id: EventId) => eventNidOf(theirs, id) as EventNid;
  const redactionsByTarget = new Map<EventId, EventNid[]>();
  for (const nid of events.map(theirNid)) {
    const target = held.redacts(nid);
    if (target !== undefined) redactionsByTarget.set(target, [...(redactionsByTarget.get(target) ?? []), nid]);
  }
  const differing = new Set(allowed.map(({ eventId }) => theirNid(eventId)));
  const isRedacted = (reader: StoreReader, id: EventId) =>
    (eventStatus(reader, eventNidOf(reader, id) as EventNid) & StatusBit.redacted) !== 0;
  return events.flatMap((id) => {
    const redactions = redactionsByTarget.get(id) ?? [];
    const expected = redactions.some((nid) => differing.has(nid))
      ? standing(ours, eventNidOf(ours, id) as EventNid) !== 'rejected' &&
        redactions.some((nid) => held.accepts(nid) && held.mayRedact(nid, theirNid(id)))
      : isRedacted(theirs, id);
    if (isRedacted(ours, id) === expected) return [];
    return [`${name(ours, id)} is ${expected ? 'not ' : ''}redacted and should ${expected ? '' : 'not '}be`];
  });
}

function endDifferences(ours: StoreReader, theirs: StoreReader, room: Room, held: HeldRoom): string[] {
  const ourEnds = new Set(room.extremities.map((nid) => eventIdOfNid(ours, nid)));
  const theirEnds = new Set([...held.ends()].map((nid) => eventIdOfNid(theirs, nid)));
  return [
    ...[...ourEnds]
      .filter((id) => !theirEnds.has(id))
      .map((id) => `${name(ours, id)} is a forward extremity and should not be`),
    ...[...theirEnds].filter((id) => !ourEnds.has(id)).map((id) => `${name(ours, id)} should be a forward extremity`),
  ];
}

/** Keys whose values differ between two states, with both values. */
function* changesBetween(a: ReadonlyMap<string, EventId>, b: ReadonlyMap<string, EventId>) {
  for (const key of new Set([...a.keys(), ...b.keys()]))
    if (a.get(key) !== b.get(key)) yield [key, [a.get(key), b.get(key)]] as const;
}
