/**
 * `POST /_matrix/key/v2/query` and `GET /_matrix/key/v2/query/{serverName}`: other servers' keys as they were answered to
 * us, with our signature added. What is missing, or not valid for as long as it is wanted, is fetched within limits
 * (fetch-queried-keys.ts); what we then do not have is left out.
 * Specification v1.19, server-server API, "Querying Keys Through Another Server".
 */

import { setImmediate as nextTurn } from 'node:timers/promises';
import { LRUCache } from 'lru-cache';
import type { KeyId, ServerName } from '../../kernel/matrix/ids.js';
import { parseKeyId, parseServerName } from '../../kernel/matrix/ids.js';
import type { JsonValue } from '../../kernel/matrix/json.js';
import { isJsonObject } from '../../kernel/matrix/json.js';
import { MatrixError } from '../../kernel/matrix/matrix-error.js';
import { parseJsonObject } from '../../kernel/matrix/parse-json.js';
import { signJson } from '../../kernel/signatures/sign-json.js';
import { keyResponse } from '../../store/server-keys.js';
import type { ApiResponse, Endpoint } from '../endpoint.js';
import { SMALL_BODY_BYTES_MAX } from '../endpoint.js';
import type { FederationContext } from './federation-context.js';
import type { KeyCriteria } from './fetch-queried-keys.js';
import { createQueriedKeysFetch } from './fetch-queried-keys.js';
import { ownKeyResponse } from './serve-keys.js';

/** Servers in one query: 500 signatures are some 30 ms of work. */
export const SERVERS_A_QUERY_MAX = 500;
/** Answers signed before other work gets its turn: about a millisecond. */
const SIGNATURES_A_TURN = 20;
/** Bytes of signed answers that are kept; one is about 1 KB. */
const SIGNED_BYTES_MAX = 16 * 1024 * 1024;
/** Body bytes: 500 servers with several key IDs each. */
const QUERY_BODY_BYTES_MAX = 512 * 1024;

/** Both endpoints; they share what is signed already. */
export function queryKeys(context: FederationContext): readonly Endpoint[] {
  const signed = new LRUCache<string, Buffer>({ maxSize: SIGNED_BYTES_MAX, sizeCalculation: (text) => text.length });
  const fetchKeys = createQueriedKeysFetch(context.server);
  const reply = async (queried: ReadonlyMap<ServerName, KeyCriteria>) => {
    await fetchKeys(queried);
    return answer(context, signed, [...queried.keys()]);
  };
  const { clock } = context.server;
  return [
    {
      method: 'POST',
      path: '/_matrix/key/v2/query',
      bodyBytesMax: QUERY_BODY_BYTES_MAX,
      handle: (request) => reply(queriedServers(request.body, clock())),
    },
    {
      method: 'GET',
      path: '/_matrix/key/v2/query/{serverName}',
      bodyBytesMax: SMALL_BODY_BYTES_MAX,
      handle: (request) => {
        const name = parseServerName(request.params.serverName);
        if (name === undefined) throw new MatrixError(400, 'M_INVALID_PARAM', 'serverName is not a server name');
        const until = request.query.get('minimum_valid_until_ts') ?? String(clock());
        if (!/^[0-9]{1,16}$/.test(until))
          throw new MatrixError(400, 'M_INVALID_PARAM', 'minimum_valid_until_ts is not a natural number');
        return reply(new Map([[name, new Map([['*', Number(until)]])]]));
      },
    },
  ];
}

/** `now`: until when keys should be valid of which nothing is said. */
function queriedServers(body: Buffer, now: number): Map<ServerName, KeyCriteria> {
  const parsed = parseJsonObject(body.toString('utf8'), false);
  if (!parsed.ok) throw new MatrixError(400, 'M_NOT_JSON', `the body: ${parsed.reason}`);
  const asked = parsed.value.server_keys;
  if (!isJsonObject(asked)) throw new MatrixError(400, 'M_BAD_JSON', 'server_keys is not an object');
  const entries = Object.entries(asked);
  if (entries.length > SERVERS_A_QUERY_MAX) {
    throw new MatrixError(
      400,
      'M_INVALID_PARAM',
      `server_keys names ${entries.length} servers; at most ${SERVERS_A_QUERY_MAX}`,
    );
  }
  const queried = new Map<ServerName, KeyCriteria>();
  for (const [text, criteria] of entries) {
    const name = parseServerName(text);
    if (name !== undefined) queried.set(name, keyCriteria(criteria, now));
  }
  return queried;
}

function keyCriteria(criteria: JsonValue | undefined, now: number): KeyCriteria {
  const wanted = new Map<KeyId | '*', number>();
  for (const [text, wish] of isJsonObject(criteria) ? Object.entries(criteria) : []) {
    const keyId = parseKeyId(text);
    const until = isJsonObject(wish) ? wish.minimum_valid_until_ts : undefined;
    if (keyId !== undefined) wanted.set(keyId, typeof until === 'number' ? until : now);
  }
  return wanted.size > 0 ? wanted : new Map([['*', now]]);
}

async function answer(
  { server }: FederationContext,
  signed: LRUCache<string, Buffer>,
  names: readonly ServerName[],
): Promise<ApiResponse> {
  const pieces: Buffer[] = [];
  let signatures = 0;
  for (const name of names) {
    const own = name === server.serverName;
    const row = own ? undefined : keyResponse(server.store, name);
    if (!own && row === undefined) continue;
    const cacheKey = `${name} ${row?.fetchedTs ?? ''}`;
    let text = own ? undefined : signed.get(cacheKey);
    if (text === undefined) {
      const response =
        row === undefined
          ? ownKeyResponse(server.signingKey, server.clock())
          : signJson(row.response, server.signingKey);
      text = Buffer.from(JSON.stringify(response), 'utf8');
      if (!own) signed.set(cacheKey, text);
      signatures += 1;
      if (signatures % SIGNATURES_A_TURN === 0) await nextTurn();
    }
    pieces.push(Buffer.from(pieces.length === 0 ? '' : ','), text);
  }
  const bytes = Buffer.concat([Buffer.from('{"server_keys":['), ...pieces, Buffer.from(']}')]);
  return { status: 200, contentType: 'application/json', bytes };
}
