/**
 * PDUs that another server pushed: verified together, then decided in the room's queue, oldest first: those that follow upon
 * one another in one write (intake/accept-together.ts), any other alone, once what it rests on is fetched where we lack it
 * (fetch-missing.ts).
 * Specification v1.19, server-server API, "Receiving a PDU".
 */

import type { EventId, RoomId, ServerName } from '../kernel/matrix/ids.js';
import type { JsonObject } from '../kernel/matrix/json.js';
import { parseJsonObject } from '../kernel/matrix/parse-json.js';
import { parsePdu } from '../kernel/matrix/parse-pdu.js';
import { isPassing, RemoteError } from '../remote/remote-error.js';
import { eventVerdict, Verdict } from '../store/event-status.js';
import { eventIdOfNid, eventNidOf } from '../store/events.js';
import type { EventNid } from '../store/nids.js';
import type { Room } from '../store/rooms.js';
import { hasRefusals, loadRoom } from '../store/rooms.js';
import { acceptEvent } from './accept-event.js';
import { isServerAllowed } from './access/server-acl.js';
import type { FillGap } from './fetch-missing.js';
import { byDepth, fetchMissingPrevs } from './fetch-missing.js';
import { acceptTogether } from './intake/accept-together.js';
import { putIngestRefusals } from './intake/apply-judgements.js';
import { fetchMissingAuth } from './intake/fetch-missing-auth.js';
import type { IngestRefusal } from './intake/ingest-events.js';
import { ingestPdus } from './intake/ingest-pdus.js';
import { nameOfPdu, namesOfPdu } from './intake/name-pdu.js';
import type { RoomServer } from './room-server.js';

/** With so many refusals in a room, what is pushed and dropped is told by the log alone: whoever pushes could fill the disk. */
export const PUSHED_REFUSALS_MAX = 2_000;

/** What a transaction answers for one PDU; nothing for one that was taken in, rejected ones included. */
export interface PduAnswer {
  readonly error?: string;
  /** It was dropped because its origin could not be asked just now for what it rests on: sent again, it may be taken in. */
  readonly mayPass?: boolean;
}

/**
 * Takes in PDUs of one room, each its JSON as received. Every one that has an ID is answered: bad ones with an `error`;
 * nothing is thrown for them. Throws MatrixError 429 where too much waits for the room.
 */
export async function receivePdus(
  server: RoomServer,
  origin: ServerName,
  roomId: RoomId,
  pdus: readonly Buffer[],
  fillGap: FillGap,
): Promise<ReadonlyMap<EventId, PduAnswer>> {
  const answers = new Map<EventId, PduAnswer>();
  const room = await knownRoom(server, roomId);
  if (room === undefined) {
    for (const pdu of pdus)
      for (const name of namesOfPdu(jsonOf(pdu))) answers.set(name, { error: `the room ${roomId} is not known here` });
    return answers;
  }
  if (!isServerAllowed(server.store, room, origin)) {
    for (const pdu of pdus) {
      const name = nameOfPdu(room.rules, jsonOf(pdu));
      if (name !== undefined) answers.set(name, { error: `the ACL of ${roomId} denies ${origin}` });
    }
    return answers;
  }
  const { nids, dropped } = await ingestPdus(server, room, pdus);
  const refused = dropped.some(({ eventId }) => eventId === undefined) ? namedIn(room, pdus, dropped) : [...dropped];
  for (const { eventId, reason } of refused) if (eventId !== undefined) answers.set(eventId, { error: reason });
  // Named beforehand: what is dropped is gone, with what it could be named by.
  const named = byDepth(server.store, nids).map((nid) => [nid, eventIdOfNid(server.store, nid)] as const);
  for (let at = 0; at < named.length; ) {
    const left = named.slice(at);
    const together = await server.queues.run(roomId, () =>
      acceptTogether(
        server,
        roomId,
        left.map(([nid]) => nid),
      ),
    );
    for (const [, eventId] of left.slice(0, together)) answers.set(eventId, {});
    at += together;
    const alone = left[together];
    if (alone === undefined) break;
    const [nid, eventId] = alone;
    answers.set(eventId, await receiveOne(server, origin, room, nid, eventId, fillGap, refused));
    at += 1;
  }
  if (refused.length > 0) await noteDropped(server, origin, room, refused);
  return answers;
}

/** The room, also where a join that is under way makes it known: what comes meanwhile waits for it. */
async function knownRoom(server: RoomServer, roomId: RoomId): Promise<Room | undefined> {
  const known = loadRoom(server.store, roomId);
  if (known !== undefined) return known;
  return server.queues.run(roomId, async () => loadRoom(server.store, roomId));
}

/** What was dropped, with the names of events whose format was so wrong that verification could not name them. */
function namedIn(room: Room, pdus: readonly Buffer[], dropped: readonly IngestRefusal[]): IngestRefusal[] {
  const malformed = pdus.flatMap((pdu): IngestRefusal[] => {
    const parsed = parsePdu(room.rules, pdu.toString('utf8'), { pushed: true });
    if (parsed.ok) return [];
    return [{ eventId: nameOfPdu(room.rules, jsonOf(pdu)), code: parsed.code, reason: parsed.reason }];
  });
  const unnamed = dropped.filter(({ eventId }) => eventId === undefined);
  const named = dropped.filter(({ eventId }) => eventId !== undefined);
  return [...named, ...malformed, ...unnamed.slice(malformed.length)];
}

/**
 * Tells the operator what was dropped, who pushed it and why: one line of the log, for a liar has fifty in each transaction,
 * and the refusals of the room. What stands here is refused by no bad copy of it.
 */
async function noteDropped(
  { store, log }: RoomServer,
  origin: ServerName,
  room: Room,
  refused: readonly IngestRefusal[],
): Promise<void> {
  const [first] = refused;
  log.warn(
    { room: room.roomId, origin, events: refused.length, event: first?.eventId, error: first?.reason },
    'pushed events were dropped',
  );
  if (hasRefusals(store, room.nid, PUSHED_REFUSALS_MAX)) return;
  // In the background: nothing follows from what a crash may lose here.
  await store.writeInBackground((writer) => {
    const open = refused.filter(({ eventId }) => {
      const nid = eventId === undefined ? undefined : eventNidOf(writer, eventId);
      return nid === undefined || eventVerdict(writer, nid) <= Verdict.unjudged;
    });
    const told = open.map((refusal) => ({ ...refusal, reason: `pushed by ${origin}: ${refusal.reason}` }));
    putIngestRefusals(writer, room.nid, told, []);
  });
  store.refresh();
}

/** What the bytes parse to; an object without members where they are no object. */
function jsonOf(pdu: Buffer): JsonObject {
  const parsed = parseJsonObject(pdu.toString('utf8'), false);
  return parsed.ok ? parsed.value : {};
}

async function receiveOne(
  server: RoomServer,
  origin: ServerName,
  room: Room,
  nid: EventNid,
  eventId: EventId,
  fillGap: FillGap,
  refused: IngestRefusal[],
): Promise<PduAnswer> {
  let mayPass = false;
  try {
    // Outside the queue: our own users do not wait for what another server answers.
    await fetchMissingPrevs(server, origin, room, nid, fillGap);
    await fetchMissingAuth(server, origin, room, nid);
  } catch (error) {
    if (!(error instanceof RemoteError)) throw error;
    mayPass = isPassing(error);
    server.log.warn(
      { room: room.roomId, origin, event: eventId, error: error.message },
      'what a pushed event rests on is not to be had',
    );
  }
  const accepted = await server.queues.run(room.roomId, () => acceptEvent(server, room.roomId, nid));
  if (accepted.verdict !== 'dropped') return {};
  const { code = 'dropped', reason: error = 'dropped' } = accepted;
  refused.push({ eventId, code, reason: error });
  return mayPass ? { error, mayPass } : { error };
}
