/**
 * Filters, and the default push rules, without which real client libraries do not start to sync.
 * Specification v1.19, client-server API, "Filtering" and "Predefined Rules".
 */

import { MatrixError } from '../../kernel/matrix/matrix-error.js';
import type { TokenRow } from '../../store/users.js';
import { loadFilter, putFilter } from '../../store/users.js';
import { parseSyncFilter } from '../../sync/sync-filter.js';
import type { ApiRequest, Endpoint } from '../endpoint.js';
import { ok } from '../endpoint.js';
import type { ClientContext } from './client-context.js';
import { bodyObject, userEndpoint } from './client-context.js';
import { defaultPushRules } from './default-push-rules.js';

function own(request: ApiRequest, caller: TokenRow): void {
  if (request.params.userId !== caller.userId) throw new MatrixError(403, 'M_FORBIDDEN', 'filters of another user');
}

export function settingsEndpoints(context: ClientContext): readonly Endpoint[] {
  const { store } = context.server;
  return [
    ...['/pushrules', '/pushrules/'].flatMap((path) =>
      userEndpoint(context, 'GET', path, async (_request, { userId }) => ok({ global: defaultPushRules(userId) })),
    ),
    ...userEndpoint(context, 'GET', '/pushrules/global/', async (_request, { userId }) => ok(defaultPushRules(userId))),
    ...userEndpoint(context, 'POST', '/user/{userId}/filter', async (request, caller) => {
      own(request, caller);
      const filter = bodyObject(request);
      parseSyncFilter(filter);
      return ok({ filter_id: store.write((writer) => putFilter(writer, caller.userId, filter)) });
    }),
    ...userEndpoint(context, 'GET', '/user/{userId}/filter/{filterId}', async (request, caller) => {
      own(request, caller);
      const filter = loadFilter(store, caller.userId, request.params.filterId ?? '');
      if (filter === undefined) throw new MatrixError(404, 'M_NOT_FOUND', `no filter ${request.params.filterId}`);
      return ok(filter);
    }),
  ];
}
