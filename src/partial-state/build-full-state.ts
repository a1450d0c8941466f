/**
 * Resync, third step: judges everything that is not judged yet and makes the state group of the accepted state events. Two
 * events for one key mean that the list was no state: another server is asked.
 */

import { setImmediate as nextTurn } from 'node:timers/promises';
import type { ServerName } from '../kernel/matrix/ids.js';
import { RemoteError } from '../remote/remote-error.js';
import { applyJudgements } from '../room/intake/apply-judgements.js';
import type { Judgements } from '../room/intake/judge-events.js';
import { judgeEvents } from '../room/intake/judge-events.js';
import type { RoomServer } from '../room/room-server.js';
import { Verdict } from '../store/event-status.js';
import { loadRecord } from '../store/events.js';
import type { EventNid, StateGroupNid } from '../store/nids.js';
import type { Room } from '../store/rooms.js';
import { internStateKeys, putStateGroup } from '../store/state-groups.js';
import type { ListedState } from './list-state.js';
import { listedVerdicts, nidAt } from './list-state.js';

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
  const verdicts = listedVerdicts(server, listed);
  const places: number[] = [];
  let acceptedCreate = false;
  const { store } = server;
  for (let at = 0; at < listed.statePositions.length; at += EVENTS_A_TURN) {
    const nids: EventNid[] = [];
    const keys: (readonly [string, string])[] = [];
    for (const position of listed.statePositions.slice(at, at + EVENTS_A_TURN)) {
      const record = verdicts[position] === Verdict.accepted ? loadRecord(store, nidAt(listed, position)) : undefined;
      if (record?.stateKey === undefined) continue;
      nids.push(nidAt(listed, position));
      keys.push([record.type, record.stateKey]);
    }
    for (const [i, place] of store.write((writer) => internStateKeys(writer, room.nid, keys)).entries()) {
      const nid = nids[i] as EventNid;
      if (places[place] !== undefined && places[place] !== nid) {
        throw new RemoteError('malformed', via, `state_ids: two events for ${keys[i]?.join(' ')}`);
      }
      places[place] = nid;
      acceptedCreate ||= nid === room.createNid;
    }
    await nextTurn();
  }
  if (!acceptedCreate) throw new RemoteError('malformed', via, 'state_ids: the create event is not in the state');
  return store.write((writer) =>
    putStateGroup(
      writer,
      Uint32Array.from(places, (nid) => nid ?? 0),
    ),
  );
}

async function judgeListed(server: RoomServer, room: Room, listed: ListedState): Promise<void> {
  const unjudged: number[] = [];
  for (const [position, verdict] of listedVerdicts(server, listed).entries()) {
    if (verdict === Verdict.unjudged) unjudged.push(nidAt(listed, position));
  }
  const nids = Uint32Array.from(unjudged).sort();
  const progress = server.progressOf(room.roomId);
  const stage = progress.start('authorising', nids.length);
  const judgements = await judgeEvents(server, room, nids, 'bulk', (checked) => {
    stage.done = checked;
  });
  server.store.write((writer) => applyJudgements(writer, room, nids, judgements));
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
