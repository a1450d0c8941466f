/** A server with a real store and inline workers, a room of its user, and another server that calls its endpoints. */

import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { ApiRequest, ApiResponse, HttpMethod } from '../../../src/api/endpoint.js';
import type { ReceivePdus } from '../../../src/api/federation/federation-endpoints.js';
import { federationEndpoints } from '../../../src/api/federation/federation-endpoints.js';
import { makeRouter } from '../../../src/http/router.js';
import type { KeyId, RoomId, ServerName, UserId } from '../../../src/kernel/matrix/ids.js';
import type { JsonObject, JsonValue } from '../../../src/kernel/matrix/json.js';
import { MatrixError } from '../../../src/kernel/matrix/matrix-error.js';
import { roomVersionRules } from '../../../src/kernel/matrix/room-versions.js';
import type { SigningKey } from '../../../src/kernel/signatures/ed25519.js';
import { signingKeyOfSeed } from '../../../src/kernel/signatures/ed25519.js';
import { hashAndSignPdu } from '../../../src/kernel/signatures/sign-pdu.js';
import { xMatrixHeader } from '../../../src/kernel/signatures/x-matrix.js';
import type { FederationClient } from '../../../src/remote/federation-client.js';
import { createKeyRing } from '../../../src/remote/key-ring.js';
import { RemoteError } from '../../../src/remote/remote-error.js';
import { acceptEvent } from '../../../src/room/accept-event.js';
import { ingestPdus } from '../../../src/room/intake/ingest-pdus.js';
import { RoomProgress } from '../../../src/room/room-progress.js';
import { RoomQueues } from '../../../src/room/room-queues.js';
import type { RoomServer } from '../../../src/room/room-server.js';
import { sendEvent } from '../../../src/room/send-event.js';
import type { EventNid, StateGroupNid } from '../../../src/store/nids.js';
import { openStore } from '../../../src/store/open-store.js';
import { internRoom, putRoom } from '../../../src/store/rooms.js';
import { putServerKey } from '../../../src/store/server-keys.js';
import { inlinePool } from '../../../src/workers/inline-pool.js';

export const NOW = 1_700_000_000_000;
export const ROOM = '!room:hs1' as RoomId;
export const ALICE = '@alice:hs1' as UserId;
export const BOB = '@bob:hs2' as UserId;

function keyOf(name: string, seed: number): SigningKey {
  return signingKeyOfSeed(name as ServerName, 'ed25519:k' as KeyId, Buffer.alloc(32, seed));
}
export const OWN_KEY = keyOf('hs1', 1);
export const HS2_KEY = keyOf('hs2', 2);
export const HS3_KEY = keyOf('hs3', 3);

export interface Call {
  readonly as?: SigningKey;
  readonly content?: JsonValue;
  /** The body's text, where `JSON.stringify(content)` is not it. */
  readonly bodyText?: string;
  /** Instead of the right header. */
  readonly authorization?: string;
}

export interface Answer {
  readonly status: number;
  readonly body: JsonObject;
  readonly raw: JsonValue;
}

export class ServedRoom {
  readonly folder = mkdtempSync(join(tmpdir(), 'joinery-federation-'));
  readonly store = openStore(this.folder, 'hs1');
  readonly queued: ServerName[] = [];
  readonly callers: ServerName[] = [];
  receivePdus: ReceivePdus = async () => new Map();
  /** Answers when keys are fetched. */
  network: FederationClient['requestJson'] = (server) =>
    Promise.reject(new RemoteError('unreachable', server, 'a test called the network'));
  readonly server: RoomServer = {
    serverName: OWN_KEY.serverName,
    signingKey: OWN_KEY,
    store: this.store,
    pool: inlinePool(this.store),
    keys: createKeyRing({
      store: this.store,
      client: { ...unreachable(), requestJson: (...asked) => this.network(...asked) },
      notaries: ['notary' as ServerName],
      own: OWN_KEY,
      clock: () => NOW,
    }),
    client: unreachable(),
    queues: new RoomQueues(),
    progressOf: () => new RoomProgress(() => NOW),
    clock: () => NOW,
    random: () => 0.5,
    log: { debug: () => undefined, info: () => undefined, warn: () => undefined, error: () => undefined },
    onTimelineEvent: () => undefined,
    onQueued: (destinations) => {
      this.queued.push(...destinations);
    },
  };
  readonly #router = makeRouter(
    federationEndpoints(this.server, {
      onCaller: (origin) => this.callers.push(origin),
      receivePdus: (...pdus) => this.receivePdus(...pdus),
    }),
  );

  constructor() {
    this.store.write((writer) => {
      for (const key of [OWN_KEY, HS2_KEY, HS3_KEY]) {
        const row = { publicKey: key.publicKey, validUntilTs: NOW + 1e9, expired: false };
        putServerKey(writer, key.serverName, key.keyId, row);
      }
    });
  }

  /** Makes the room: create, Alice, power levels, join rules. */
  async createRoom(joinRules: JsonObject = { join_rule: 'public' }, version = '11', roomId = ROOM): Promise<void> {
    const rules = roomVersionRules(version);
    if (rules === undefined) throw new Error(`no room version ${version}`);
    const roomNid = this.store.write((writer) => internRoom(writer, roomId));
    const create = hashAndSignPdu(
      rules,
      {
        type: 'm.room.create',
        ...(rules.eventIdForm === 'domain' ? { event_id: `$create:${OWN_KEY.serverName}` } : {}),
        room_id: roomId,
        sender: ALICE,
        state_key: '',
        content: { room_version: version, ...(rules.creatorInContent ? { creator: ALICE } : {}) },
        auth_events: [],
        prev_events: [],
        depth: 1,
        origin_server_ts: NOW,
      },
      OWN_KEY,
    );
    const room = { nid: roomNid, roomId, version };
    const bytes = Buffer.from(JSON.stringify(create.json));
    const { nids, dropped } = await ingestPdus(this.server, room, [bytes], { stateOnly: true, pushed: false });
    const [createNid] = nids;
    if (createNid === undefined) throw new Error(`create: ${JSON.stringify(dropped)}`);
    this.store.write((writer) =>
      putRoom(writer, roomNid, {
        roomId,
        version,
        residency: 'full-state',
        createNid,
        currentGroup: 0 as StateGroupNid,
        extremities: [] as EventNid[],
      }),
    );
    const accepted = await acceptEvent(this.server, roomId, createNid);
    if (accepted.verdict !== 'accepted') throw new Error(`create: ${JSON.stringify(accepted)}`);
    await this.send('m.room.member', ALICE, { membership: 'join' }, roomId);
    await this.send('m.room.power_levels', '', { users: { [ALICE]: 100 } }, roomId);
    await this.send('m.room.join_rules', '', joinRules, roomId);
  }

  send(type: string, stateKey: string | undefined, content: JsonObject, roomId = ROOM) {
    return sendEvent(this.server, roomId, { type, sender: ALICE, stateKey, content });
  }

  /** Calls an endpoint as the HTTP layer would. */
  async call(method: HttpMethod, rawUri: string, options: Call = {}): Promise<Answer> {
    const { as, content } = options;
    const url = new URL(rawUri, 'https://hs1');
    const { endpoint, params } = this.#router.match(method, url.pathname);
    const signed = {
      method,
      uri: rawUri,
      origin: as?.serverName ?? ('' as ServerName),
      destination: OWN_KEY.serverName,
    };
    const authorization = options.authorization ?? (as && xMatrixHeader({ ...signed, content }, as));
    const request: ApiRequest = {
      method,
      rawUri,
      params,
      query: url.searchParams,
      header: (name) => (name === 'authorization' ? authorization : undefined),
      body: Buffer.from(options.bodyText ?? (content === undefined ? '' : JSON.stringify(content))),
      signal: new AbortController().signal,
    };
    try {
      const response = await endpoint.handle(request);
      const raw = JSON.parse(await textOf(response)) as JsonValue;
      return { status: response.status, raw, body: raw as JsonObject };
    } catch (error) {
      if (!(error instanceof MatrixError)) throw error;
      return { status: error.status, raw: error.toBody(), body: error.toBody() };
    }
  }

  /** Joins a user of another server through make_join and send_join. */
  async join(as: SigningKey, userId: string, query = '', signedBy = as, roomId = ROOM): Promise<Answer> {
    const made = await this.call(
      'GET',
      `/_matrix/federation/v1/make_join/${encodeURIComponent(roomId)}/${encodeURIComponent(userId)}?ver=11`,
      { as },
    );
    if (made.status !== 200) return made;
    const rules = roomVersionRules('11');
    if (rules === undefined) throw new Error('no room version 11');
    const signed = hashAndSignPdu(rules, made.body.event as JsonObject, signedBy);
    const uri = `/_matrix/federation/v2/send_join/${encodeURIComponent(roomId)}/${encodeURIComponent(signed.eventId)}${query}`;
    return this.call('PUT', uri, { as, content: signed.json });
  }

  async close(): Promise<void> {
    await this.store.close();
    rmSync(this.folder, { recursive: true });
  }
}

/** The body of a response; checks a stated length. */
export async function textOf(response: ApiResponse): Promise<string> {
  if ('json' in response) return JSON.stringify(response.json);
  if ('bytes' in response) return Buffer.from(response.bytes).toString('utf8');
  const chunks: Uint8Array[] = [];
  for await (const chunk of response.chunks) chunks.push(chunk);
  const body = Buffer.concat(chunks);
  if (body.length !== response.contentLength) {
    throw new Error(`${body.length} bytes came where ${response.contentLength} were stated`);
  }
  return body.toString('utf8');
}

/** A client that the tests must not need. */
function unreachable(): FederationClient {
  const refuse = () => {
    throw new Error('a test called the network');
  };
  return { requestJson: refuse, requestStream: refuse, close: refuse };
}
