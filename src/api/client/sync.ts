/** `/sync`: answers at once when there is news, else waits for it. Specification v1.19, client-server API, "Syncing". */

import type { JsonObject } from '../../kernel/matrix/json.js';
import { isJsonObject } from '../../kernel/matrix/json.js';
import { MatrixError } from '../../kernel/matrix/matrix-error.js';
import { localMembership } from '../../store/timeline.js';
import type { TokenRow } from '../../store/users.js';
import { loadFilter } from '../../store/users.js';
import type { SyncRequest } from '../../sync/build-sync.js';
import { buildSync } from '../../sync/build-sync.js';
import { MemberCounter } from '../../sync/count-members.js';
import { parseSyncFilter } from '../../sync/sync-filter.js';
import { parseSyncToken } from '../../sync/sync-token.js';
import type { ApiRequest, Endpoint } from '../endpoint.js';
import { jsonChunks } from '../endpoint.js';
import type { ClientContext } from './client-context.js';
import { userEndpoint } from './client-context.js';

/** Longest wait of a long poll, whatever the client asks for. */
const TIMEOUT_MS_MAX = 60_000;

function filterOf(context: ClientContext, request: ApiRequest, caller: TokenRow): JsonObject {
  const given = request.query.get('filter');
  if (given === null) return {};
  if (!given.startsWith('{')) {
    const stored = loadFilter(context.server.store, caller.userId, given);
    if (stored === undefined) throw new MatrixError(400, 'M_INVALID_PARAM', `no filter ${given}`);
    return stored;
  }
  try {
    const inline = JSON.parse(given) as unknown;
    return isJsonObject(inline) ? inline : {};
  } catch (error) {
    throw new MatrixError(400, 'M_NOT_JSON', 'filter is not JSON', {}, { cause: error });
  }
}

function syncRequest(context: ClientContext, request: ApiRequest, caller: TokenRow): SyncRequest {
  const filter = parseSyncFilter(filterOf(context, request, caller));
  const token = request.query.get('since');
  const since = token === null ? undefined : parseSyncToken(token);
  if (token !== null && since === undefined)
    throw new MatrixError(400, 'M_INVALID_PARAM', `since: ${token} is not a token of ours`);
  return { userId: caller.userId, since, filter };
}

export function syncEndpoints(context: ClientContext): readonly Endpoint[] {
  const { store } = context.server;
  const counter = new MemberCounter(store);
  return userEndpoint(context, 'GET', '/sync', async (request, caller) => {
    const wanted = syncRequest(context, request, caller);
    const timeoutMs = Math.min(Number(request.query.get('timeout') ?? 0) || 0, TIMEOUT_MS_MAX);
    const deadline = context.server.clock() + timeoutMs;
    for (;;) {
      // Before looking: what happens while we look must wake us.
      const left = deadline - context.server.clock();
      const stopped = new AbortController();
      const signal = AbortSignal.any([request.signal, stopped.signal]);
      const news = context.sync.wait((room) => localMembership(store, caller.userId, room) !== undefined, signal, left);
      const answer = await buildSync(context.server, counter, wanted);
      const mustAnswer = wanted.since === undefined || left <= 0 || request.signal.aborted || context.sync.isClosed;
      if (!answer.isEmpty || mustAnswer) {
        stopped.abort();
        return jsonChunks(answer.chunks);
      }
      await news;
    }
  });
}
