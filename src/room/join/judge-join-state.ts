/**
 * Is what `send_join` returned a state that our join can stand on? Judges every event, finds the create event, refuses two
 * events for one key, and authorises our join against its own auth events and against the returned state.
 * Specification v1.19, server-server API, "Joining Rooms"; MSC3706.
 */

import { checkAuthRules } from '../../kernel/event-auth/check-auth-rules.js';
import { createEventIdOf } from '../../kernel/event-auth/creators.js';
import { stateOfAuthEvents } from '../../kernel/event-auth/state-lookup.js';
import type { AuthEvent } from '../../kernel/matrix/auth-event.js';
import type { RoomId, UserId } from '../../kernel/matrix/ids.js';
import { isJsonObject } from '../../kernel/matrix/json.js';
import { MatrixError } from '../../kernel/matrix/matrix-error.js';
import type { RoomVersionRules } from '../../kernel/matrix/room-versions.js';
import type { SignedEvent } from '../../kernel/signatures/sign-pdu.js';
import { verifyInviteSignature } from '../../kernel/signatures/verify-invite-signature.js';
import { eventVerdict, Verdict } from '../../store/event-status.js';
import { eventNidOf, loadRecord, referencedIds } from '../../store/events.js';
import type { EventNid, RoomNid } from '../../store/nids.js';
import { NO_EVENT } from '../../store/nids.js';
import type { IngestResult } from '../intake/ingest-events.js';
import type { Judgements } from '../intake/judge-events.js';
import { judgeEvents } from '../intake/judge-events.js';
import { inTurns } from '../intake/place-state.js';
import type { RoomServer } from '../room-server.js';
import { loadAuthEvent } from '../room-state.js';

/** The answer is no state that we can join on: another server may have a better one. */
export class JoinRefused extends Error {
  override readonly name = 'JoinRefused';
}

export interface JudgedJoinState {
  readonly createNid: EventNid;
  /** Accepted state events. */
  readonly stateNids: readonly EventNid[];
  /** Events that were judged now, ascending. */
  readonly judgedNids: Uint32Array;
  readonly judgements: Judgements;
  readonly ingest: IngestResult;
}

export async function judgeJoinState(
  server: RoomServer,
  rules: RoomVersionRules,
  room: { readonly roomId: RoomId; readonly roomNid: RoomNid; readonly userId: UserId },
  join: SignedEvent,
  ingest: IngestResult,
): Promise<JudgedJoinState> {
  const { store } = server;
  const listed = [...new Set(ingest.nidsByField.get('state') ?? [])];
  const all = new Set([...listed, ...(ingest.nidsByField.get('auth_chain') ?? [])]);
  const createNid = await findCreate(server, rules, room.roomId, all, listed);
  const unjudged: EventNid[] = [];
  await inTurns(all, (nid) => {
    if (eventVerdict(store, nid) === Verdict.unjudged) unjudged.push(nid);
  });
  const judgedNids = Uint32Array.from(unjudged).sort();
  const judgedRoom = { nid: room.roomNid, roomId: room.roomId, version: rules.version, rules, createNid };
  const judgements = await judgeEvents(server, judgedRoom, judgedNids, 'interactive');
  const accepted = new Set<number>();
  for (const [i, nid] of judgedNids.entries()) if (judgements.verdicts[i] === 'accepted') accepted.add(nid);
  const isAccepted = (nid: EventNid) => accepted.has(nid) || eventVerdict(store, nid) === Verdict.accepted;
  if (!isAccepted(createNid)) throw new JoinRefused('send_join: the create event is not valid');

  const stateNids: EventNid[] = [];
  const nidByKey = new Map<string, EventNid>();
  await inTurns(listed, (nid) => {
    if (!isAccepted(nid)) return;
    const record = loadRecord(store, nid);
    if (record?.stateKey === undefined) return;
    const key = `${record.type}\0${record.stateKey}`;
    if (nidByKey.has(key)) throw new JoinRefused(`send_join: two events for ${record.type} ${record.stateKey}`);
    nidByKey.set(key, nid);
    stateNids.push(nid);
  });
  authoriseJoin(server, judgedRoom, join, isAccepted, (type, key) => nidByKey.get(`${type}\0${key}`));
  return { createNid, stateNids, judgedNids, judgements, ingest };
}

async function findCreate(
  server: RoomServer,
  rules: RoomVersionRules,
  roomId: RoomId,
  all: ReadonlySet<EventNid>,
  listed: readonly EventNid[],
): Promise<EventNid> {
  const creates: EventNid[] = [];
  await inTurns(all, (nid) => {
    const record = loadRecord(server.store, nid);
    if (record?.type === 'm.room.create' && record.stateKey === '') creates.push(nid);
  });
  const [nid] = creates;
  if (nid === undefined || !listed.includes(nid)) throw new JoinRefused('send_join: no create event in the state');
  if (creates.length > 1) throw new JoinRefused('send_join: more than one create event');
  const create = loadAuthEvent(
    server.store,
    { nid: 0 as RoomNid, roomId, version: rules.version, rules, createNid: nid },
    nid,
  );
  if ((create?.content.room_version ?? '1') !== rules.version) {
    throw new JoinRefused(`send_join: the create event is not of room version ${rules.version}`);
  }
  if (rules.roomIdIsCreateEventHash && create?.eventId !== createEventIdOf(roomId)) {
    throw new JoinRefused('send_join: the create event is not the one that the room ID names');
  }
  return nid;
}

/** Our own join must be allowed twice: by its auth events, and by the state that was returned. */
function authoriseJoin(
  server: RoomServer,
  room: Parameters<typeof loadAuthEvent>[1],
  join: SignedEvent,
  isAccepted: (nid: EventNid) => boolean,
  stateNid: (type: string, stateKey: string) => EventNid | undefined,
): void {
  const { json, eventId } = join;
  const event: AuthEvent = {
    eventId,
    roomId: room.roomId,
    type: 'm.room.member',
    stateKey: json.state_key as string,
    sender: json.sender as UserId,
    content: isJsonObject(json.content) ? json.content : {},
    originServerTs: json.origin_server_ts as number,
    depth: json.depth as number,
    authEventIds: referencedIds(json.auth_events),
    prevEventIds: referencedIds(json.prev_events),
    redacts: undefined,
    rejected: false,
  };
  const authEvents: AuthEvent[] = [];
  for (const id of event.authEventIds) {
    const nid = eventNidOf(server.store, id);
    const authEvent = nid === undefined || !isAccepted(nid) ? undefined : loadAuthEvent(server.store, room, nid);
    if (authEvent === undefined)
      throw new JoinRefused(`send_join: auth event ${id} of our join is missing or not valid`);
    authEvents.push(authEvent);
  }
  const create = loadAuthEvent(server.store, room, room.createNid);
  const options = { verifyInviteSignature };
  const byAuthEvents = checkAuthRules(room.rules, event, stateOfAuthEvents(room.rules, authEvents, create), options);
  const byState = checkAuthRules(
    room.rules,
    event,
    (type, key) => loadAuthEvent(server.store, room, stateNid(type, key) ?? NO_EVENT),
    options,
  );
  for (const verdict of [byAuthEvents, byState]) {
    if (!verdict.allowed)
      throw new MatrixError(403, 'M_FORBIDDEN', `you may not join ${room.roomId}: ${verdict.reason}`);
  }
}
