/**
 * Resync, third step: judges everything that is not judged yet and makes the state group of the accepted state events, and of
 * those that only partial state had us reject. Two events for one key mean that the list was no state: another server is asked.
 */

import type { ServerName } from '../kernel/matrix/ids.js';
import { RemoteError } from '../remote/remote-error.js';
import { applyJudgements } from '../room/intake/apply-judgements.js';
import type { Judgements } from '../room/intake/judge-events.js';
import { judgeEvents } from '../room/intake/judge-events.js';
import { placeState } from '../room/intake/place-state.js';
import type { RoomServer } from '../room/room-server.js';
import { recordAuthNids } from '../store/event-record.js';
import { eventVerdict, Verdict } from '../store/event-status.js';
import type { EventNid, StateGroupNid } from '../store/nids.js';
import { NO_EVENT } from '../store/nids.js';
import type { Room } from '../store/rooms.js';
import { isPartialStateEvent } from '../store/rooms.js';
import { putStateGroup } from '../store/state-groups.js';
import { eventContext } from '../store/timeline.js';
import type { ListedState } from './list-state.js';
import { listedVerdicts, nidAt } from './list-state.js';

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
  const doubtful = await wronglyRejected(server, room, listed, verdicts);
  const { store } = server;
  const nids = listed.statePositions
    .filter((position) => verdicts[position] === Verdict.accepted || doubtful.has(nidAt(listed, position)))
    .map((position) => nidAt(listed, position));
  if (!nids.includes(room.createNid))
    throw new RemoteError('malformed', via, 'state_ids: the create event is not in the state');
  const { events, twice } = await placeState(store, room.nid, nids);
  if (twice !== undefined) throw new RemoteError('malformed', via, `state_ids: two events for ${twice.join(' ')}`);
  server.progressOf(room.roomId).end('authorising');
  return store.write((writer) => putStateGroup(writer, events));
}

/** Judges what is not judged yet. How many events were dropped because they name auth events that the list does not. */
async function judgeListed(server: RoomServer, room: Room, listed: ListedState): Promise<number> {
  const unjudged: number[] = [];
  for (const [position, verdict] of listedVerdicts(server, listed).entries()) {
    if (verdict === Verdict.unjudged) unjudged.push(nidAt(listed, position));
  }
  const nids = Uint32Array.from(unjudged).sort();
  const stage = server.progressOf(room.roomId).start('authorising', nids.length);
  const judgements = await judgeEvents(server, room, nids, 'bulk', (checked) => {
    stage.done = checked;
  });
  const unlisted = restingOnUnlisted(server, listed, judgements);
  server.store.write((writer) => applyJudgements(writer, room, nids, judgements));
  countRefusals(server, room, judgements);
  return unlisted;
}

/**
 * How many events lack an auth event that the list does not name. Such a one may have a number from an earlier list, and
 * may even be stored and not judged.
 */
function restingOnUnlisted({ store }: RoomServer, listed: ListedState, { refusals }: Judgements): number {
  const lacking: (readonly EventNid[])[] = [];
  for (const { nid, code } of refusals) {
    const record = code === 'auth-event-missing' ? store.tables.event_record_by_nid.getBinaryFast(nid) : undefined;
    if (record !== undefined) lacking.push(recordAuthNids(record) as EventNid[]);
  }
  const unlisted = new Set<EventNid>();
  for (const nid of lacking.flat())
    if (nid === NO_EVENT || eventVerdict(store, nid) <= Verdict.unjudged) unlisted.add(nid);
  for (let position = 0; position < listed.count && unlisted.size > 0; position++)
    unlisted.delete(nidAt(listed, position));
  return lacking.filter((authNids) => authNids.some((nid) => unlisted.has(nid))).length;
}

/**
 * Listed events that were rejected on partial state, or for resting on such, and that their auth events allow. Who lists them
 * knows that state and we do not: such a verdict must not shape a full state, where it would stay when it is turned round.
 */
async function wronglyRejected(
  server: RoomServer,
  room: Room,
  listed: ListedState,
  verdicts: Uint8Array,
): Promise<ReadonlySet<number>> {
  const { store } = server;
  const doubtful: number[] = [];
  let hasPartial = false;
  for (const [position, verdict] of verdicts.entries()) {
    if (verdict !== Verdict.rejected) continue;
    const nid = nidAt(listed, position);
    const isPartial = isPartialStateEvent(store, room.nid, nid);
    hasPartial ||= isPartial;
    if (isPartial || eventContext(store, nid) === undefined) doubtful.push(nid);
  }
  if (!hasPartial) return new Set();
  const nids = Uint32Array.from(doubtful).sort();
  const { verdicts: judged } = await judgeEvents(server, room, nids, 'bulk');
  return new Set(nids.filter((_, i) => judged[i] === 'accepted'));
}

function countRefusals(server: RoomServer, room: Room, judgements: Judgements): void {
  const progress = server.progressOf(room.roomId);
  for (const { judgement } of judgements.refusals) {
    if (judgement === 'rejected') progress.rejectedEvents += 1;
    else progress.droppedEvents += 1;
  }
}
