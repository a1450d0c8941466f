/**
 * The write that makes a room ours: verdicts on what came, the state before the join, the join itself, the room's row and,
 * with partial state, the row that a resynchronisation starts from. All in one transaction.
 */

import type { ServerName } from '../../kernel/matrix/ids.js';
import { isJsonObject } from '../../kernel/matrix/json.js';
import type { RoomVersionRules } from '../../kernel/matrix/room-versions.js';
import type { SignedEvent } from '../../kernel/signatures/sign-pdu.js';
import { internEventIds, referencedIds } from '../../store/events.js';
import type { EventNid } from '../../store/nids.js';
import type { RoomRow } from '../../store/rooms.js';
import { addJoinedCounts, putPartialState } from '../../store/rooms.js';
import { putStateGroup } from '../../store/state-groups.js';
import { applyJudgements, putIngestRefusals } from '../intake/apply-judgements.js';
import { ingestPdus } from '../intake/ingest-pdus.js';
import { inTurns, placeState } from '../intake/place-state.js';
import { countJoined, persistEvent } from '../persist-event.js';
import type { RoomServer } from '../room-server.js';
import type { StateRoom } from '../room-state.js';
import type { ReceivedState } from './ask-to-join.js';
import type { JoinRequest } from './join-room.js';
import { JoinRefused } from './judge-join-state.js';

/** Stores our signed join through the same door as every event, unjudged; returns its NID. */
export async function storeJoin(
  server: RoomServer,
  request: JoinRequest,
  rules: RoomVersionRules,
  join: SignedEvent,
  received: ReceivedState,
): Promise<EventNid> {
  const returned = received.returnedEvent?.signatures;
  const ours = isJsonObject(join.json.signatures) ? join.json.signatures : {};
  // Of the returned event only signatures count, and ours stay ours.
  const event = { ...join.json, signatures: { ...(isJsonObject(returned) ? returned : {}), ...ours } };
  const room = { nid: received.roomNid, roomId: request.roomId, version: rules.version };
  const bytes = Buffer.from(JSON.stringify(event), 'utf8');
  const { nids, dropped } = await ingestPdus(server, room, [bytes], { stateOnly: true });
  const [nid] = nids;
  if (nid === undefined) throw new JoinRefused(`our join does not verify: ${dropped[0]?.reason ?? 'unknown'}`);
  return nid;
}

export async function persistJoin(
  server: RoomServer,
  request: JoinRequest,
  rules: RoomVersionRules,
  via: ServerName,
  join: SignedEvent,
  received: ReceivedState,
): Promise<void> {
  const joinNid = await storeJoin(server, request, rules, join, received);
  const { roomNid, membersOmitted, servers, judged } = received;
  const progress = server.progressOf(request.roomId);
  const { createNid } = judged;
  const room: StateRoom = { nid: roomNid, roomId: request.roomId, version: rules.version, rules, createNid };
  const { events, twice } = await placeState(server.store, roomNid, judged.stateNids);
  if (twice !== undefined) throw new JoinRefused(`send_join: two events for ${twice.join(' ')}`);
  const joined = new Map<ServerName, number>();
  await inTurns(judged.stateNids, (nid) => countJoined(server.store, nid, 1, joined));
  server.store.write((writer) => {
    putIngestRefusals(writer, roomNid, judged.ingest.dropped, judged.ingest.redacted);
    applyJudgements(writer, room, judged.judgedNids, judged.judgements);
    const before = putStateGroup(writer, events);
    const row: RoomRow = {
      roomId: request.roomId,
      version: rules.version,
      residency: membersOmitted ? 'partial-state' : 'full-state',
      createNid,
      currentGroup: before,
      extremities: [],
    };
    addJoinedCounts(writer, roomNid, joined);
    if (membersOmitted) {
      putPartialState(writer, roomNid, {
        joinNid,
        joinedVia: via,
        servers,
        deviceListPosition: 0,
        attempts: 0,
        nextTryTs: 0,
        lastFailure: undefined,
      });
    }
    persistEvent(writer, room, row, {
      nid: joinNid,
      eventId: join.eventId,
      prevs: internEventIds(writer, referencedIds(join.json.prev_events)),
      before,
      refusal: undefined,
      partial: membersOmitted,
      extremities: [joinNid],
      current: undefined,
      ownServer: server.serverName,
    });
  });
  progress.droppedEvents += judged.ingest.dropped.length;
  progress.redactedEvents += judged.ingest.redacted.length;
  for (const { judgement } of judged.judgements.refusals) {
    if (judgement === 'dropped') progress.droppedEvents += 1;
    else progress.rejectedEvents += 1;
  }
  server.onTimelineEvent(roomNid, joinNid);
}
