/**
 * Where keys come from: a server's own `GET /_matrix/key/v2/server`, and a notary's `POST /_matrix/key/v2/query` for many
 * servers at once. What passes its checks is stored; what does not is logged and left out.
 * Specification v1.19, server-server API, "Retrieving server keys".
 */

import { setImmediate as nextTurn } from 'node:timers/promises';
import type { KeyId, ServerName } from '../../kernel/matrix/ids.js';
import type { JsonObject, JsonValue } from '../../kernel/matrix/json.js';
import { isJsonObject } from '../../kernel/matrix/json.js';
import type { StoredKey } from '../../store/server-keys.js';
import type { FederationClient } from '../federation-client.js';
import type { RemoteLog } from '../remote-log.js';
import { checkKeyResponse } from './check-key-response.js';
import type { KeyWriter } from './key-writer.js';

/** Wait for a notary's first byte, in milliseconds: it may ask the origins itself before it answers. */
export const NOTARY_TIMEOUT_MS = 20_000;
/** Wait for an origin's keys, in milliseconds: half of ensureKeys' deadline, so that a hanging server is replaced once. */
export const ORIGIN_TIMEOUT_MS = 5_000;
/** Largest answer of one origin, in bytes: KEYS_PER_SERVER_MAX keys with their signatures are a fifth of it. */
export const KEY_RESPONSE_BYTES_MAX = 256 * 1024;
/** Largest answer of a notary, in bytes: 500 servers with tens of keys each. */
export const NOTARY_ANSWER_BYTES_MAX = 4 * 1024 * 1024;
/** Responses verified in one turn of the event loop: two signatures each, about 2 ms together. */
export const RESPONSES_PER_TURN = 10;

/** Key IDs with the time until which they should be valid; an empty map asks for all keys. */
export type WantedKeys = ReadonlyMap<ServerName, ReadonlyMap<KeyId, number>>;

export interface KeySources {
  readonly client: FederationClient;
  readonly writer: KeyWriter;
  readonly clock: () => number;
  readonly log: RemoteLog;
  /** A key of a notary that is good for signing now. */
  readonly notaryKey: (notary: ServerName, keyId: KeyId) => StoredKey | undefined;
}

/** Fetches and stores a server's keys from itself. Throws RemoteError; false when the answer did not pass its checks. */
export async function fetchFromOrigin(
  sources: KeySources,
  server: ServerName,
  signal: AbortSignal | undefined,
): Promise<boolean> {
  const response = await sources.client.requestJson(server, {
    method: 'GET',
    path: '/_matrix/key/v2/server',
    signed: false,
    firstByteTimeoutMs: ORIGIN_TIMEOUT_MS,
    idleTimeoutMs: ORIGIN_TIMEOUT_MS,
    bodyBytesMax: KEY_RESPONSE_BYTES_MAX,
    signal,
  });
  const verdict = checkKeyResponse(response, new Set([server]), undefined, sources.clock());
  if (!verdict.ok) {
    sources.log.warn({ server, reason: verdict.reason }, 'keys refused');
    return false;
  }
  await sources.writer.add(verdict.checked);
  return true;
}

function queryContent(wanted: WantedKeys): JsonObject {
  const servers: [string, JsonObject][] = [];
  for (const [server, keyIds] of wanted) {
    const criteria = [...keyIds].map(([keyId, ts]): [string, JsonObject] => [keyId, { minimum_valid_until_ts: ts }]);
    servers.push([server, Object.fromEntries(criteria)]);
  }
  return { server_keys: Object.fromEntries(servers) };
}

/** Asks one notary about one batch of servers and stores what it answers. Throws RemoteError. */
export async function fetchFromNotary(sources: KeySources, notary: ServerName, wanted: WantedKeys): Promise<void> {
  const answer = await sources.client.requestJson(notary, {
    method: 'POST',
    path: '/_matrix/key/v2/query',
    content: queryContent(wanted),
    signed: false,
    firstByteTimeoutMs: NOTARY_TIMEOUT_MS,
    idleTimeoutMs: NOTARY_TIMEOUT_MS,
    bodyBytesMax: NOTARY_ANSWER_BYTES_MAX,
  });
  const list = isJsonObject(answer) && Array.isArray(answer.server_keys) ? answer.server_keys : [];
  const identity = { server: notary, key: (keyId: KeyId) => sources.notaryKey(notary, keyId) };
  const written: Promise<void>[] = [];
  let refusals = 0;
  for (const [index, response] of (list as readonly JsonValue[]).entries()) {
    if (index > 0 && index % RESPONSES_PER_TURN === 0) await nextTurn();
    const verdict = checkKeyResponse(response, wanted, identity, sources.clock());
    if (verdict.ok) {
      written.push(sources.writer.add(verdict.checked));
    } else {
      refusals += 1;
      if (refusals === 1) sources.log.warn({ notary, reason: verdict.reason }, 'key answer of a notary refused');
    }
  }
  if (refusals > 1) sources.log.warn({ notary, refusals }, 'key answers of a notary refused');
  await Promise.all(written);
}
