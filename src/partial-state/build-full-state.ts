/**
 * Resync, third step: judges everything that is not judged yet and makes the state group of the accepted state events. Two
 * events for one key mean that the list was no state: another server is asked.
 */

import { setImmediate as nextTurn } from 'node:timers/promises';
import type { ServerName } from '../kernel/matrix/ids.js';
import { RemoteError } from '../remote/remote-error.js';
import { applyJudgements } from '../room/apply-judgements.js';
import type { Judgements } from '../room/judge-events.js';
import { judgeEvents } from '../room/judge-events.js';
import type { RoomServer } from '../room/room-server.js';
import { eventVerdict, Verdict } from '../store/event-status.js';
import { loadRecord } from '../store/events.js';
import type { EventNid, StateGroupNid } from '../store/nids.js';
import type { Room } from '../store/rooms.js';
import { internStateKey, putStateGroup } from '../store/state-groups.js';
import type { ListedState } from './list-state.js';

/** Events handled between two turns of the event loop: about 5 ms. */
const EVENTS_A_TURN = 1_000;

/** The group of the listed state. Throws RemoteError when the list is no state of this room. */
export async function buildFullState(
  server: RoomServer,
  via: ServerName,
  room: Room,
  listed: ListedState,
): Promise<StateGroupNid> {
  await judgeListed(server, room, listed);
  const places: number[] = [];
  let acceptedCreate = false;
  const { store } = server;
  for (let at = 0; at < listed.statePositions.length; at += EVENTS_A_TURN) {
    store.write((writer) => {
      for (const position of listed.statePositions.slice(at, at + EVENTS_A_TURN)) {
        const nid = listed.index.nids[position] as EventNid;
        if (eventVerdict(writer, nid) !== Verdict.accepted) continue;
        const record = loadRecord(writer, nid);
        if (record?.stateKey === undefined) continue;
        const place = internStateKey(writer, room.nid, record.type, record.stateKey);
        if (places[place] !== undefined && places[place] !== nid) {
          throw new RemoteError('malformed', via, `state_ids: two events for ${record.type} ${record.stateKey}`);
        }
        places[place] = nid;
        acceptedCreate ||= nid === room.createNid;
      }
    });
    await nextTurn();
  }
  if (!acceptedCreate) throw new RemoteError('malformed', via, 'state_ids: the create event is not in the state');
  return store.write((writer) => putStateGroup(writer, Uint32Array.from(places, (nid) => nid ?? 0)));
}

async function judgeListed(server: RoomServer, room: Room, listed: ListedState): Promise<void> {
  const { index, count } = listed;
  const unjudged: number[] = [];
  for (let position = 0; position < count; position++) {
    if (position % (EVENTS_A_TURN * 5) === 0) await nextTurn();
    const nid = index.nids[position] as EventNid;
    if (eventVerdict(server.store, nid) === Verdict.unjudged) unjudged.push(nid);
  }
  const nids = Uint32Array.from(unjudged).sort();
  const progress = server.progressOf(room.roomId);
  const stage = progress.start('authorising', nids.length);
  const judgements = await judgeEvents(server, room, nids, 'bulk', (checked) => {
    stage.done = checked;
  });
  server.store.write((writer) => applyJudgements(writer, room.nid, nids, judgements));
  countRefusals(server, room, judgements);
  progress.end('authorising');
}

function countRefusals(server: RoomServer, room: Room, judgements: Judgements): void {
  const progress = server.progressOf(room.roomId);
  for (const { judgement } of judgements.refusals) {
    if (judgement === 'rejected') progress.rejectedEvents += 1;
    else progress.droppedEvents += 1;
  }
}
