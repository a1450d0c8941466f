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
import { recordAuthNids, recordStateKey } from '../store/event-record.js';
import { Verdict } from '../store/event-status.js';
import type { EventNid, StateGroupNid, StateKeyNid } from '../store/nids.js';
import { NO_EVENT } from '../store/nids.js';
import type { Room } from '../store/rooms.js';
import { internStateKeys, putStateGroup } from '../store/state-groups.js';
import type { ListedState } from './list-state.js';
import { listedVerdicts, nidAt } from './list-state.js';

/** Events handled between two turns of the event loop: about 5 ms. */
const EVENTS_A_TURN = 2_000;

/** The group of the listed state. Throws RemoteError when the list is no state of this room. */
export async function buildFullState(
  server: RoomServer,
  via: ServerName,
  room: Room,
  listed: ListedState,
): Promise<StateGroupNid> {
  const unlisted = await judgeListed(server, room, listed);
  // Those are dropped and come again: the room must not become a smaller one because a list leaves out what it rests on.
  if (unlisted > 0)
    throw new RemoteError('malformed', via, `state_ids: ${unlisted} events rest on auth events that it does not list`);
  const verdicts = listedVerdicts(server, listed);
  const accepted = listed.statePositions.filter((position) => verdicts[position] === Verdict.accepted);
  const entries = await keyedEvents(
    server,
    accepted.map((position) => nidAt(listed, position)),
  );
  const places: number[] = [];
  let acceptedCreate = false;
  const { store } = server;
  for (let at = 0; at < entries.length; at += EVENTS_A_TURN) {
    const some = entries.slice(at, at + EVENTS_A_TURN);
    const keys = some.map(({ key }) => key);
    // In the background: a key that a crash loses is named again by the next attempt, and the last write makes all durable.
    const named = await store.writeInBackground((writer) => internStateKeys(writer, room.nid, keys));
    for (const [i, { nid, key }] of some.entries()) {
      const place = named[i] as StateKeyNid;
      if (places[place] !== undefined && places[place] !== nid) {
        throw new RemoteError('malformed', via, `state_ids: two events for ${key.join(' ')}`);
      }
      places[place] = nid;
      acceptedCreate ||= nid === room.createNid;
    }
  }
  if (!acceptedCreate) throw new RemoteError('malformed', via, 'state_ids: the create event is not in the state');
  return store.write((writer) =>
    putStateGroup(
      writer,
      Uint32Array.from(places, (nid) => nid ?? 0),
    ),
  );
}

interface KeyedEvent {
  readonly nid: EventNid;
  readonly key: readonly [type: string, stateKey: string];
}

/** State events with their keys, sorted by them nearly as the store sorts: then 85,000 new keys are written page after page. */
async function keyedEvents(server: RoomServer, nids: readonly EventNid[]): Promise<KeyedEvent[]> {
  const records = server.store.tables.event_record_by_nid;
  const entries: KeyedEvent[] = [];
  for (const [i, nid] of nids.entries()) {
    const record = records.getBinaryFast(nid);
    const key = record === undefined ? undefined : recordStateKey(record);
    if (key !== undefined) entries.push({ nid, key });
    if (i % EVENTS_A_TURN === EVENTS_A_TURN - 1) await nextTurn();
  }
  return entries.sort(({ key: [typeA, a] }, { key: [typeB, b] }) =>
    typeA === typeB ? order(a, b) : order(typeA, typeB),
  );
}

function order(a: string, b: string): number {
  return a < b ? -1 : a > b ? 1 : 0;
}

/** Judges what is not judged yet. How many events were dropped because they name auth events that the list does not. */
async function judgeListed(server: RoomServer, room: Room, listed: ListedState): Promise<number> {
  const records = server.store.tables.event_record_by_nid;
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
  const unlisted = judgements.refusals.filter(({ nid, code }) => {
    const record = code === 'auth-event-missing' ? records.getBinaryFast(nid) : undefined;
    return record !== undefined && recordAuthNids(record).includes(NO_EVENT);
  });
  server.store.write((writer) => applyJudgements(writer, room, nids, judgements));
  countRefusals(server, room, judgements);
  progress.end('authorising');
  return unlisted.length;
}

function countRefusals(server: RoomServer, room: Room, judgements: Judgements): void {
  const progress = server.progressOf(room.roomId);
  for (const { judgement } of judgements.refusals) {
    if (judgement === 'rejected') progress.rejectedEvents += 1;
    else progress.droppedEvents += 1;
  }
}
