/**
 * What must come out: a full join that receives the same events in the same order. Another server of the same name and key
 * makes the same join, is answered with the full state and takes in what the first one took in; then the two rooms are
 * compared (compare-rooms.ts).
 */

import type { EventId, ServerName, UserId } from '../../../src/kernel/matrix/ids.js';
import type { JsonObject } from '../../../src/kernel/matrix/json.js';
import type { FederationClient, RemoteRequest } from '../../../src/remote/federation-client.js';
import { RemoteError } from '../../../src/remote/remote-error.js';
import { eventIdOfNid, eventNidOf, loadBody, referencedIds } from '../../../src/store/events.js';
import type { EventNid } from '../../../src/store/nids.js';
import type { StoreReader } from '../../../src/store/open-store.js';
import type { Room } from '../../../src/store/rooms.js';
import { addJoinedCounts, loadRoom } from '../../../src/store/rooms.js';
import { eventContext } from '../../../src/store/timeline.js';
import { randomOf } from '../../hq/room/plan/random.js';
import type { Federation } from '../federation.js';
import { HS1, HS2, HS3, keyOf, MINUTE_MS, PUPPETS } from '../federation.js';
import { FederationServer } from '../federation-server.js';
import { Disk } from '../store/full-disk.js';
import type { Comparison } from './compare-rooms.js';
import { compareRooms } from './compare-rooms.js';
import { forgedEvents } from './forged-events.js';
import { invariants } from './invariants.js';
import { bodyOf, describe, name } from './read-room.js';

/** Full answers to the joins of hs2, by the join's event ID. */
export type FullAnswers = ReadonlyMap<string, Buffer>;

/** Looks at both servers when they have been compared; may change what one has stored and compare them once more. */
export type Probe = (federation: Federation, compareAgain: () => Promise<Comparison>) => Promise<void>;

/** Compares hs2's room with that of a full join. */
export async function compareWithFullJoin(
  federation: Federation,
  answers: FullAnswers,
  folder: string,
  probe?: Probe,
): Promise<Comparison> {
  const { hs2, roomId, time, network } = federation;
  // What a server sends again after a long back-off would come while both are compared.
  network.deaf = HS2;
  await federation.pass(MINUTE_MS);
  const ours = hs2.store;
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
    if (differences.length > 0) return { differences, allowed: [], events: events.length, rejected: 0, flipped: 0 };
    const compare = async () => {
      const compared = await federation.settle(() =>
        time.within(full.running.life, () => compareRooms(federation, full, events)),
      );
      const broken = [...invariants(federation, hs2.loadRoom(roomId) as Room), ...forgedEvents(federation)];
      return { ...compared, differences: [...broken, ...compared.differences] };
    };
    const compared = await compare();
    await probe?.(federation, compare);
    return compared;
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
