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
import { RemoteError } from '../remote/remote-error.js';
import { eventIdOfNid } from '../store/events.js';
import type { EventNid } from '../store/nids.js';
import type { Room } from '../store/rooms.js';
import { loadRoom } from '../store/rooms.js';
import { acceptEvent } from './accept-event.js';
import { isServerAllowed } from './access/server-acl.js';
import type { FillGap } from './fetch-missing.js';
import { byDepth, fetchMissingPrevs } from './fetch-missing.js';
import { acceptTogether } from './intake/accept-together.js';
import { fetchMissingAuth } from './intake/fetch-missing-auth.js';
import { ingestPdus } from './intake/ingest-pdus.js';
import { nameOfPdu, namesOfPdu } from './intake/name-pdu.js';
import type { RoomServer } from './room-server.js';

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
  for (const { eventId, reason } of dropped) if (eventId !== undefined) answers.set(eventId, { error: reason });
  if (dropped.some(({ eventId }) => eventId === undefined)) answerUnnamed(room, pdus, answers);
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
    answers.set(eventId, await receiveOne(server, origin, room, nid, eventId, fillGap));
    at += 1;
  }
  return answers;
}

/** The room, also where a join that is under way makes it known: what comes meanwhile waits for it. */
async function knownRoom(server: RoomServer, roomId: RoomId): Promise<Room | undefined> {
  const known = loadRoom(server.store, roomId);
  if (known !== undefined) return known;
  return server.queues.run(roomId, async () => loadRoom(server.store, roomId));
}

/** Answers for events whose format was so wrong that verification could not name them. */
function answerUnnamed(room: Room, pdus: readonly Buffer[], answers: Map<EventId, PduAnswer>): void {
  for (const pdu of pdus) {
    const parsed = parsePdu(room.rules, pdu.toString('utf8'), { pushed: true });
    const name = nameOfPdu(room.rules, jsonOf(pdu));
    if (name !== undefined && !parsed.ok) answers.set(name, { error: parsed.reason });
  }
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
  const { verdict, reason } = await server.queues.run(room.roomId, () => acceptEvent(server, room.roomId, nid));
  if (verdict !== 'dropped') return {};
  const error = reason ?? 'dropped';
  return mayPass ? { error, mayPass } : { error };
}

/** Whether the same request may be answered in a while. */
function isPassing({ kind, status = 0 }: RemoteError): boolean {
  return kind === 'unreachable' || kind === 'timeout' || status === 429 || status >= 500;
}
