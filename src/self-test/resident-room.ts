/** Writes the made-up room into the store of the server that serves it in the self-test, through the doors of every event. */

import type { EventId, ServerName } from '../kernel/matrix/ids.js';
import type { RoomVersionRules } from '../kernel/matrix/room-versions.js';
import type { SigningKey } from '../kernel/signatures/ed25519.js';
import { unpadded } from '../kernel/signatures/hash-pdu.js';
import { signJson } from '../kernel/signatures/sign-json.js';
import { applyJudgements } from '../room/intake/apply-judgements.js';
import { EventIngest } from '../room/intake/ingest-events.js';
import { judgeEvents } from '../room/intake/judge-events.js';
import { countJoined, persistEvent } from '../room/persist-event.js';
import type { RoomServer } from '../room/room-server.js';
import type { EventNid } from '../store/nids.js';
import type { StoreWriter } from '../store/open-store.js';
import { addJoinedCounts, internRoom } from '../store/rooms.js';
import { putKeyResponse, putServerKey } from '../store/server-keys.js';
import { internStateKey, putStateGroup } from '../store/state-groups.js';
import type { MadeUpRoom } from '../workers/made-up-room.js';
import { MADE_UP_ROOM } from '../workers/made-up-room.js';

/** How long the made-up servers say that their keys are valid: longer than a self-test takes. */
const KEYS_VALID_MS = 60 * 60 * 1000;

/** What the resident knows of a server: its key, and the signed answer that a notary hands on. */
export function putMadeUpKey(writer: StoreWriter, key: SigningKey, nowTs: number): void {
  const { serverName, keyId, publicKey } = key;
  const validUntilTs = nowTs + KEYS_VALID_MS;
  const response = signJson(
    {
      old_verify_keys: {},
      server_name: serverName,
      valid_until_ts: validUntilTs,
      verify_keys: { [keyId]: { key: unpadded(publicKey.toString('base64')) } },
    },
    key,
  );
  putServerKey(writer, serverName, keyId, { publicKey, validUntilTs, expired: false });
  putKeyResponse(writer, serverName, { response, fetchedTs: nowTs, validUntilTs });
}

/** Stores the room with full state. Throws Error when the verification refuses any of it. */
export async function storeMadeUpRoom(server: RoomServer, rules: RoomVersionRules, room: MadeUpRoom): Promise<void> {
  const { store } = server;
  const roomNid = store.write((writer) => {
    for (const key of room.keys) putMadeUpKey(writer, key, server.clock());
    return internRoom(writer, MADE_UP_ROOM);
  });
  const ingest = new EventIngest(server, {
    roomVersion: rules.version,
    roomId: MADE_UP_ROOM,
    roomNid,
    stateOnly: true,
    pushed: true,
    lane: 'interactive',
    index: undefined,
  });
  for (const { text } of room.events) ingest.add('state', Buffer.from(text, 'utf8'));
  const { nidsByField, dropped } = await ingest.finish();
  const nids = nidsByField.get('state') ?? [];
  if (nids.length !== room.events.length) throw new Error(`an event does not verify: ${dropped[0]?.reason}`);
  const judged = { nid: roomNid, roomId: MADE_UP_ROOM, version: rules.version, rules, createNid: nids[0] as EventNid };
  const ascending = Uint32Array.from(nids).sort();
  const judgements = await judgeEvents(server, judged, ascending, 'interactive');
  if (judgements.refusals[0] !== undefined) throw new Error(`an event is refused: ${judgements.refusals[0].reason}`);

  store.write((writer) => {
    applyJudgements(writer, judged, ascending, judgements);
    const places: number[] = [];
    for (const [n, { type, stateKey }] of room.events.slice(0, -1).entries()) {
      places[internStateKey(writer, roomNid, type, stateKey)] = nids[n] as EventNid;
    }
    const joined = new Map<ServerName, number>();
    for (const nid of places) countJoined(writer, nid as EventNid, 1, joined);
    addJoinedCounts(writer, roomNid, joined);
    const before = putStateGroup(writer, Uint32Array.from(places));
    const last = nids.at(-1) as EventNid;
    const row = {
      roomId: MADE_UP_ROOM,
      version: rules.version,
      residency: 'full-state' as const,
      createNid: judged.createNid,
      currentGroup: before,
      extremities: [],
    };
    persistEvent(writer, judged, row, {
      nid: last,
      eventId: room.events.at(-1)?.eventId as EventId,
      prevs: nids.slice(-2, -1),
      before,
      refusal: undefined,
      partial: false,
      extremities: [last],
      current: undefined,
      ownServer: server.serverName,
    });
  });
}
