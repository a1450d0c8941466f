/**
 * What must come out: a full join that receives the same events in the same order. Another server of the same name and key
 * makes the same join, is answered with the full state, takes in what the first one took in, and both must end with the same
 * current state, forward extremities, rejected events and redactions.
 *
 * The only difference allowed: what the full join soft-fails and the partial one accepted while its state was partial. The
 * expected extremities and state are then those with these events counted in, and the outcome names them.
 */

import type { EventId, ServerName, UserId } from '../../src/kernel/matrix/ids.js';
import { serverNameOf } from '../../src/kernel/matrix/ids.js';
import type { JsonObject } from '../../src/kernel/matrix/json.js';
import type { FederationClient, RemoteRequest } from '../../src/remote/federation-client.js';
import { RemoteError } from '../../src/remote/remote-error.js';
import { resolveStoredStates } from '../../src/room/room-state.js';
import { eventStatus, StatusBit, VERDICT_BITS, Verdict } from '../../src/store/event-status.js';
import { eventIdOfNid, eventNidOf, loadBody, loadRecord, referencedIds } from '../../src/store/events.js';
import type { EventNid, StateGroupNid } from '../../src/store/nids.js';
import { NO_EVENT } from '../../src/store/nids.js';
import type { StoreReader } from '../../src/store/open-store.js';
import type { Room } from '../../src/store/rooms.js';
import {
  addJoinedCounts,
  clearedEvents,
  joinedServers,
  loadPartialState,
  loadRoom,
  partialStateEvents,
} from '../../src/store/rooms.js';
import { stateEntries, stateEvent } from '../../src/store/state-groups.js';
import { eventContext, eventPrevs, localMembership, roomTimeline } from '../../src/store/timeline.js';
import { randomOf } from '../hq/room/plan/random.js';
import type { Federation } from './federation.js';
import { BEA, BOB, HS1, HS2, HS3, keyOf, MINUTE_MS, PUPPETS } from './federation.js';
import { FederationServer } from './federation-server.js';
import { Disk } from './full-disk.js';

/** Full answers to the joins of hs2, by the join's event ID. */
export type FullAnswers = ReadonlyMap<string, Buffer>;

export interface Comparison {
  /** What differs and must not; empty: as it should be. */
  readonly differences: readonly string[];
  /** Events that the full join soft-failed and the partial join accepted. */
  readonly softFailedInFull: readonly EventId[];
  readonly events: number;
  readonly rejected: number;
  /** Events whose verdict was another while the state was partial. */
  readonly flipped: number;
}

/** Compares hs2's room with that of a full join. */
export async function compareWithFullJoin(
  federation: Federation,
  answers: FullAnswers,
  folder: string,
): Promise<Comparison> {
  const { hs2, roomId, time, network } = federation;
  // What a server sends again after a long back-off would come while both are compared.
  network.deaf = HS2;
  await federation.pass(MINUTE_MS);
  const ours = hs2.store;
  const room = hs2.loadRoom(roomId) as Room;
  const [joinNid, ...rest] = hs2.decided;
  if (joinNid === undefined) throw new Error('hs2 has a room and no event in it');
  const join = bodyOf(ours, joinNid);
  const joinId = eventIdOfNid(ours, joinNid);
  let joining = true;
  const full = new FederationServer({
    key: keyOf(HS2),
    folder: `${folder}/full`,
    time,
    random: randomOf('full', 'join'),
    disk: new Disk(randomOf('full', 'disk'), time.now),
    client: replayingClient(federation, join, answers.get(joinId)),
    notaries: [HS1],
    trace: () => undefined,
    onBug: (what) => federation.bugs.push(`full join: ${what}`),
    clock: () => (joining ? (join.origin_server_ts as number) : time.now()),
  });
  full.start();
  // The full join may ask whatever the room has done to our users since.
  if (federation.hs1.life !== undefined)
    federation.hs1.store.write((writer) => {
      const there = loadRoom(writer, roomId) as Room;
      addJoinedCounts(writer, there.nid, new Map([[HS2, 1]]));
    });
  try {
    const request = { roomId, userId: join.sender as UserId, candidates: [HS1], profile: {}, partial: false };
    await federation.settle(() => time.within(full.running.life, () => full.join(request)));
    joining = false;
    const dropped: EventId[] = [];
    for (const nid of rest) {
      const id = eventIdOfNid(ours, nid);
      await federation.settle(() => time.within(full.running.life, () => takeIn(federation, full, ours, nid)));
      const there = eventNidOf(full.store, id);
      if (there === undefined || eventContext(full.store, there) === undefined) dropped.push(id);
    }
    const events = [joinId, ...rest.map((nid) => eventIdOfNid(ours, nid))];
    if (process.env.SIMULATE_EVENTS !== undefined)
      for (const nid of hs2.decided) process.stderr.write(`${describe(federation, nid)}\n`);
    const differences = dropped.map((id) => `the full join has no ${name(ours, id)}`);
    if (differences.length > 0)
      return { differences, softFailedInFull: [], events: events.length, rejected: 0, flipped: 0 };
    return await federation.settle(() =>
      time.within(full.running.life, () => compare(federation, full, room, events, invariants(federation, room))),
    );
  } finally {
    full.stop();
    await federation.pass(1000);
  }
}

/** Answers the join with what was answered at its time; everything else comes over a network without faults. */
function replayingClient(federation: Federation, join: JsonObject, answer: Buffer | undefined): FederationClient {
  const client = federation.network.clientOf(HS2, true);
  return {
    ...client,
    requestJson: async (server, request) => {
      if (!request.path.includes('/make_join/')) return client.requestJson(server, request);
      return { room_version: federation.rules.version, event: join };
    },
    requestStream: async (server: ServerName, request: RemoteRequest) => {
      if (!request.path.includes('/send_join/')) return client.requestStream(server, request);
      if (answer === undefined) throw new Error('no full answer to this join was kept');
      async function* body() {
        yield answer as Buffer;
      }
      return { contentLength: undefined, body: body() };
    },
  };
}

/** Gives the full join one event that the partial one took in, on the same ground. */
async function takeIn(federation: Federation, full: FederationServer, ours: StoreReader, nid: EventNid): Promise<void> {
  const room = full.loadRoom(federation.roomId) as Room;
  const json = bodyOf(ours, nid);
  for (const prev of referencedIds(json.prev_events)) {
    const there = eventNidOf(full.store, prev);
    if (there !== undefined && eventContext(full.store, there) !== undefined) continue;
    // hs1 may never have heard of an event that hs3 told us, before it was gone.
    await full.running.fillGap(room, HS1, prev).catch((error: unknown) => {
      if (!(error instanceof RemoteError)) throw error;
      if (federation.hs3.life === undefined) federation.hs3.start();
      return full.running.fillGap(room, HS3, prev);
    });
  }
  const bytes = loadBody(ours, nid) as Buffer;
  await full.receive(PUPPETS[0] as ServerName, federation.roomId, [bytes]);
}

async function compare(
  federation: Federation,
  full: FederationServer,
  ourRoom: Room,
  events: readonly EventId[],
  differences: string[],
): Promise<Comparison> {
  const { hs2, roomId } = federation;
  const ours = hs2.store;
  const theirs = full.store;
  const differ = (what: string) => differences.push(what);
  const softFailedInFull: EventId[] = [];
  const counted = new Set<EventNid>();
  let rejected = 0;
  let flipped = 0;
  for (const id of events) {
    const [our, their] = [eventNidOf(ours, id) as EventNid, eventNidOf(theirs, id) as EventNid];
    const [a, b] = [standing(ours, our), standing(theirs, their)];
    if (a === 'rejected') rejected += 1;
    if (hs2.rejectedAtFirst.get(our) !== (a === 'rejected')) flipped += 1;
    if (a === 'accepted') counted.add(their);
    if (a === b) continue;
    const isExpected =
      a === 'accepted' && b === 'soft-failed' && (hs2.decidedWhilePartial.has(our) || isOwnJoin(ours, our));
    if (isExpected) softFailedInFull.push(id);
    else if (!(a === 'soft-failed' || b === 'soft-failed') || a === 'rejected' || b === 'rejected')
      differ(`${name(ours, id)} is ${a}, a full join has it ${b}`);
    else if (softFailedInFull.length === 0) differ(`${name(ours, id)} is ${a}, a full join has it ${b}`);
  }
  // The ends of what the partial join accepted, and the state there, as the full join's store has them.
  const ends = new Set(counted);
  for (const nid of counted) {
    // Through what is refused to what stands behind it.
    const behind = new Set(eventPrevs(theirs, nid));
    for (const prev of behind) {
      ends.delete(prev);
      if (!counted.has(prev)) for (const further of eventPrevs(theirs, prev)) behind.add(further);
    }
  }
  const group = await resolveStoredStates(
    full.room,
    full.loadRoom(roomId) as Room,
    [...ends].map((nid) => eventContext(theirs, nid)?.after ?? (0 as StateGroupNid)),
    'bulk',
  );
  const idsOf = (reader: StoreReader, nids: Iterable<EventNid>) => [...nids].map((nid) => eventIdOfNid(reader, nid));
  const [ourEnds, theirEnds] = [new Set(idsOf(ours, ourRoom.extremities)), new Set(idsOf(theirs, ends))];
  for (const id of ourEnds)
    if (!theirEnds.has(id)) differ(`${name(ours, id)} is a forward extremity and should not be`);
  for (const id of theirEnds) if (!ourEnds.has(id)) differ(`${name(ours, id)} should be a forward extremity`);
  const [ourState, theirState] = [stateOf(ours, ourRoom.currentGroup), stateOf(theirs, group)];
  for (const key of new Set([...ourState.keys(), ...theirState.keys()])) {
    const [a, b] = [ourState.get(key), theirState.get(key)];
    if (a === b) continue;
    const nid = b === undefined ? undefined : eventNidOf(ours, b);
    const refusal = b === undefined ? undefined : ours.tables.refusals.get([ourRoom.nid, b]);
    const here = nid === undefined ? 'unknown here' : `here ${standing(ours, nid)} ${JSON.stringify(refusal) ?? ''}`;
    differ(`${key} is ${a && name(ours, a)} and should be ${b && name(theirs, b)}, ${here}`);
  }
  if (softFailedInFull.length === 0) {
    for (const id of events) {
      const bit = (reader: StoreReader) => eventStatus(reader, eventNidOf(reader, id) as EventNid) & StatusBit.redacted;
      if (bit(ours) !== bit(theirs)) differ(`${name(ours, id)} is ${bit(ours) ? '' : 'not '}redacted`);
    }
  }
  return { differences, softFailedInFull, events: events.length, rejected, flipped };
}

/** What must hold of a room with full state by itself. */
function invariants({ hs2 }: Federation, room: Room): string[] {
  const { store } = hs2;
  const wrong: string[] = [];
  if (loadPartialState(store, room.nid) !== undefined) wrong.push('the row of the partial state is still there');
  if (partialStateEvents(store, room.nid).length + clearedEvents(store, room.nid).length > 0)
    wrong.push('events are still marked as of partial state');
  const counts = new Map<string, number>();
  for (const [, nid] of stateEntries(store, room.currentGroup)) {
    const record = loadRecord(store, nid);
    if (record?.membership !== 'join' || record.stateKey === undefined) continue;
    const server = serverNameOf(record.stateKey as UserId);
    counts.set(server, (counts.get(server) ?? 0) + 1);
  }
  const stored = new Map<string, number>(joinedServers(store, room.nid));
  for (const server of new Set([...counts.keys(), ...stored.keys()])) {
    if (counts.get(server) !== stored.get(server))
      wrong.push(`${server} has ${counts.get(server)} joined members and is counted ${stored.get(server)}`);
  }
  for (const user of [BOB, BEA]) {
    const nid = stateEvent(store, room.nid, room.currentGroup, 'm.room.member', user);
    const membership = nid === NO_EVENT ? undefined : loadRecord(store, nid)?.membership;
    const kept = localMembership(store, user, room.nid)?.membership;
    // Who never joined through us has no membership here, whatever others have decided about them; who did and is not in the
    // state any more has left.
    if ((membership ?? 'leave') !== kept && kept !== undefined)
      wrong.push(`${user} is told ${kept} where the state has ${membership}`);
  }
  const shown = new Map<EventNid, number>();
  for (const { event } of roomTimeline(store, room.nid, { after: 0, upTo: 2 ** 31, limit: 100_000 }))
    shown.set(event, (shown.get(event) ?? 0) + 1);
  for (const nid of hs2.decided) {
    const record = loadRecord(store, nid);
    if (record === undefined || record.type === 'm.room.redaction' || standing(store, nid) !== 'accepted') continue;
    const times = shown.get(nid) ?? 0;
    if (times !== 1) wrong.push(`${name(store, eventIdOfNid(store, nid))} is shown ${times} times`);
  }
  wrong.push(...sentFromOutside(store, room, hs2.decided));
  return wrong;
}

/**
 * Events that were accepted though nobody who is not in the room may send them: the two joins might agree on a wrong rule.
 * Specification v1.19, room version 11, authorization rules 5 and 6, read off the stored states, without the kernel.
 */
function sentFromOutside(reader: StoreReader, room: Room, events: Iterable<EventNid>): string[] {
  const wrong: string[] = [];
  for (const nid of events) {
    const record = loadRecord(reader, nid);
    const before = eventContext(reader, nid)?.before;
    if (record === undefined || before === undefined || standing(reader, nid) === 'rejected') continue;
    const isOwnMembership = record.type === 'm.room.member' && record.stateKey === record.sender;
    if (record.type === 'm.room.create' || isOwnMembership) continue;
    const member = stateEvent(reader, room.nid, before, 'm.room.member', record.sender);
    const membership = member === NO_EVENT ? undefined : loadRecord(reader, member)?.membership;
    if (membership !== 'join')
      wrong.push(`${name(reader, eventIdOfNid(reader, nid))} is accepted, its sender being ${membership ?? 'unknown'}`);
  }
  return wrong;
}

/** A resident has taken it and we stand in the room by it; who hears of it later than of something else may soft-fail it. */
function isOwnJoin(reader: StoreReader, nid: EventNid): boolean {
  const record = loadRecord(reader, nid);
  const isJoin = record?.type === 'm.room.member' && record.membership === 'join' && record.stateKey === record.sender;
  return isJoin && serverNameOf(record.sender) === HS2;
}

function standing(reader: StoreReader, nid: EventNid): string {
  const status = eventStatus(reader, nid);
  const verdict = status & VERDICT_BITS;
  if (verdict === Verdict.rejected) return 'rejected';
  if (verdict !== Verdict.accepted) return 'not judged';
  return (status & StatusBit.softFailed) === 0 ? 'accepted' : 'soft-failed';
}

function stateOf(reader: StoreReader, group: StateGroupNid): Map<string, EventId> {
  const state = new Map<string, EventId>();
  for (const [, nid] of stateEntries(reader, group)) {
    const record = loadRecord(reader, nid);
    if (record !== undefined) state.set(`${record.type} ${record.stateKey}`, eventIdOfNid(reader, nid));
  }
  return state;
}

function bodyOf(reader: StoreReader, nid: EventNid): JsonObject {
  const bytes = loadBody(reader, nid);
  if (bytes === undefined) throw new Error(`event ${nid} was decided and has no body`);
  return JSON.parse(bytes.toString('utf8')) as JsonObject;
}

/** An event for people. */
function name(reader: StoreReader, id: EventId): string {
  const nid = eventNidOf(reader, id);
  const record = nid === undefined ? undefined : loadRecord(reader, nid);
  const what = record === undefined ? '' : ` (${record.type} ${record.stateKey ?? ''} ${record.membership})`;
  return `${id.slice(0, 8)}${what} of ${record?.sender}`;
}

/** One line on an event of hs2's timeline, for who looks for a bug. */
function describe({ hs2 }: Federation, nid: EventNid): string {
  const { store } = hs2;
  const short = (ids: readonly EventId[]) => ids.map((id) => id.slice(0, 8)).join(',');
  const json = bodyOf(store, nid);
  const partial = hs2.decidedWhilePartial.has(nid) ? ' while partial' : '';
  return (
    `${name(store, eventIdOfNid(store, nid))}: ${standing(store, nid)}${partial}, after ${short(referencedIds(json.prev_events))}` +
    ` by ${short(referencedIds(json.auth_events))} ${JSON.stringify(json.content)}`
  );
}
