/**
 * A join into a room that this server knows: another of our users, or one who comes back. Where we are in it with full
 * state, the join is an event of ours like any other. While its state is partial, or after all of our users had left, others
 * know better: the join goes through one of them, and the room keeps what it has.
 *
 * State before such a join: that after the prev_events we hold, resolved; the answer's state joins in only for prev_events
 * that we lack, for it omits members. Every decision and write is made in the room's queue, the requests outside of it, so
 * that nobody's sending waits for them. MSC3902; specification v1.19, server-server API, "Joining Rooms".
 */

import type { ServerName } from '../../kernel/matrix/ids.js';
import { MatrixError } from '../../kernel/matrix/matrix-error.js';
import { RemoteError } from '../../remote/remote-error.js';
import { eventVerdict, Verdict } from '../../store/event-status.js';
import { internEventIds, loadEvent, loadRecord, referencedIds } from '../../store/events.js';
import type { EventNid, StateGroupNid, StateKeyNid } from '../../store/nids.js';
import type { Room } from '../../store/rooms.js';
import { isPartialStateEvent, isServerJoined, loadPartialState, loadRoom, putPartialState } from '../../store/rooms.js';
import { changeStateGroup, EMPTY_STATE_GROUP, internStateKey } from '../../store/state-groups.js';
import { eventContext, eventContextIn } from '../../store/timeline.js';
import { authorizingState, checkAgainst, persistAccepted } from '../accept-event.js';
import { applyJudgements, putIngestRefusals } from '../intake/apply-judgements.js';
import { judgeEvents } from '../intake/judge-events.js';
import { RoomProgress } from '../room-progress.js';
import type { RoomServer } from '../room-server.js';
import { resolveStoredStates } from '../room-state.js';
import { sendEvent } from '../send-event.js';
import type { AskedJoin, ReceivedState } from './ask-to-join.js';
import { askToJoin, SERVERS_IN_ROOM_MAX } from './ask-to-join.js';
import type { JoinRequest } from './join-room.js';
import { throughCandidates } from './join-room.js';
import { storeJoin } from './persist-join.js';

/** Joins a local user. Throws MatrixError (403 where the state does not allow it). */
export async function joinKnownRoom(server: RoomServer, request: JoinRequest): Promise<void> {
  const room = knownRoom(server, request);
  if (isResident(server, room)) return joinByOwnEvent(server, request);
  const row = loadPartialState(server.store, room.nid);
  const candidates = [...request.candidates, ...(row === undefined ? [] : [row.joinedVia, ...row.servers])];
  const partial = room.residency !== 'full-state';
  // Its own progress: the room's is that of the resynchronisation, which goes on.
  const progress = new RoomProgress(server.clock);
  await throughCandidates(server, request, candidates, async (candidate) => {
    const asked = await askToJoin(server, { ...request, partial }, candidate, progress);
    if (asked.rules.version !== room.version)
      throw new RemoteError('malformed', candidate, `make_join: the room is not of version ${asked.rules.version}`);
    const joinNid = await storeJoin(server, request, asked.rules, asked.join, asked.received);
    const joined = await server.queues.run(request.roomId, () => acceptJoin(server, request, asked, joinNid));
    if (!joined) await joinByOwnEvent(server, request);
  });
}

function knownRoom(server: RoomServer, { roomId }: JoinRequest): Room {
  const room = loadRoom(server.store, roomId);
  if (room === undefined) throw new MatrixError(404, 'M_NOT_FOUND', `the room ${roomId} is not known here`);
  return room;
}

/** Whether we are in the room and know all of its state. */
function isResident(server: RoomServer, room: Room): boolean {
  return room.residency === 'full-state' && isServerJoined(server.store, room.nid, server.serverName);
}

async function joinByOwnEvent(server: RoomServer, { roomId, userId, profile }: JoinRequest): Promise<void> {
  const content = { ...profile, membership: 'join' };
  await sendEvent(server, roomId, { type: 'm.room.member', sender: userId, stateKey: userId, content });
}

/**
 * Decides about the join and puts it into the timeline. False, and nothing is written, where the room's state became full
 * while we asked and the answer's, which omits members, would be needed. Throws MatrixError 403.
 */
async function acceptJoin(
  server: RoomServer,
  request: JoinRequest,
  { join, received }: AskedJoin,
  joinNid: EventNid,
): Promise<boolean> {
  const { store } = server;
  const room = knownRoom(server, request);
  // Who names the join in prev_events may have brought it before.
  if (eventContext(store, joinNid) !== undefined) return eventVerdict(store, joinNid) === Verdict.accepted;
  const prevs = store.write((writer) => internEventIds(writer, referencedIds(join.json.prev_events)));
  const held = prevs.flatMap((prev) => eventContextIn(store, room.nid, prev)?.after ?? []);
  const lacking = held.length < prevs.length;
  if (lacking && received.membersOmitted && isResident(server, room)) return false;
  takeIn(server, room, received);
  const groups = lacking ? [...held, answeredState(server, room, received)] : held;
  const before = await resolveStoredStates(server, room, groups, 'interactive');
  const partial =
    room.residency !== 'full-state' && (lacking || prevs.some((prev) => isPartialStateEvent(store, room.nid, prev)));
  const event = loadEvent(store, room.rules, joinNid);
  if (event === undefined) throw new Error(`our join ${join.eventId} was stored and is gone`);
  const [judged] = (await judgeEvents(server, room, Uint32Array.of(joinNid), 'interactive')).refusals;
  const state = await authorizingState(server, room, event, before, partial);
  const refusal = judged ?? checkAgainst(room, event, state, 'rejected');
  if (refusal !== undefined)
    throw new MatrixError(403, 'M_FORBIDDEN', `you may not join ${room.roomId}: ${refusal.reason}`);
  addServers(server, room, received.servers);
  await persistAccepted(server, room, event, { prevs, before, partial, refusal: undefined });
  server.onTimelineEvent(room.nid, joinNid);
  return true;
}

/** Writes verdicts on what the answer brought, but for what was judged meanwhile: it may stand in the timeline by now. */
function takeIn(server: RoomServer, room: Room, { judged }: ReceivedState): void {
  server.store.write((writer) => {
    putIngestRefusals(writer, room.nid, judged.ingest.dropped, judged.ingest.redacted);
    const open = [...judged.judgedNids.entries()].filter(
      ([, nid]) => eventVerdict(writer, nid as EventNid) === Verdict.unjudged,
    );
    const nids = Uint32Array.from(open, ([, nid]) => nid);
    applyJudgements(writer, room, nids, {
      verdicts: open.flatMap(([i]) => judged.judgements.verdicts[i] ?? []),
      refusals: judged.judgements.refusals.filter(({ nid }) => nids.includes(nid)),
    });
  });
}

/** The group of the state that was answered. */
function answeredState(server: RoomServer, room: Room, { judged }: ReceivedState): StateGroupNid {
  return server.store.write((writer) => {
    const entries: (readonly [StateKeyNid, EventNid])[] = [];
    for (const nid of judged.stateNids) {
      const record = loadRecord(writer, nid);
      if (record?.stateKey !== undefined)
        entries.push([internStateKey(writer, room.nid, record.type, record.stateKey), nid]);
    }
    return changeStateGroup(writer, EMPTY_STATE_GROUP, entries);
  });
}

/** Remembers the servers that the answer named, while the room's state is partial. */
function addServers(server: RoomServer, room: Room, named: readonly ServerName[]): void {
  server.store.write((writer) => {
    const row = loadPartialState(writer, room.nid);
    if (row === undefined) return;
    const servers = [...new Set([...row.servers, ...named])].slice(0, SERVERS_IN_ROOM_MAX);
    putPartialState(writer, room.nid, { ...row, servers });
  });
}
