/**
 * What a client asks when it starts: versions, capabilities, push rules, and its filters.
 * Specification v1.19, client-server API, "API Versions", "Capabilities negotiation", "Filtering".
 */

import type { JsonObject } from '../../kernel/matrix/json.js';
import { MatrixError } from '../../kernel/matrix/matrix-error.js';
import { ROOM_VERSIONS } from '../../kernel/matrix/room-versions.js';
import type { RoomServer } from '../../room/room-server.js';
import { loadFilter, putFilter } from '../../store/users.js';
import { defaultPushRules } from '../../sync/default-push-rules.js';
import { parseSyncFilter } from '../../sync/sync-filter.js';
import type { ApiRequest, Endpoint } from '../endpoint.js';
import { ok, SMALL_BODY_BYTES_MAX } from '../endpoint.js';
import type { ClientOptions } from './client-options.js';
import type { Caller } from './client-request.js';
import { bodyObject, userEndpoint } from './client-request.js';

/** Versions of the specification that we serve. */
const VERSIONS = ['r0.6.1', ...Array.from({ length: 11 }, (_, n) => `v1.${n + 1}`)];
const ROOM_VERSION_DEFAULT = '11';

export function sessionEndpoints(server: RoomServer, options: ClientOptions): Endpoint[] {
  const pushRules = (caller: Caller) => defaultPushRules(caller.userId);
  return [
    {
      method: 'GET',
      path: '/_matrix/client/versions',
      bodyBytesMax: SMALL_BODY_BYTES_MAX,
      handle: async () => ok({ versions: VERSIONS, unstable_features: {} }),
    },
    ...userEndpoint(server, 'GET', '/capabilities', async () => ok({ capabilities: capabilities(options) })),
    ...['/pushrules', '/pushrules/'].flatMap((path) =>
      userEndpoint(server, 'GET', path, async (_request, caller) => ok({ global: pushRules(caller) })),
    ),
    ...['/pushrules/global', '/pushrules/global/'].flatMap((path) =>
      userEndpoint(server, 'GET', path, async (_request, caller) => ok(pushRules(caller))),
    ),
    ...userEndpoint(server, 'POST', '/user/{userId}/filter', async (request, caller) => {
      checkOwn(request, caller);
      const filter = bodyObject(request);
      parseSyncFilter(filter);
      return ok({ filter_id: server.store.write((writer) => putFilter(writer, caller.userId, filter)) });
    }),
    ...userEndpoint(server, 'GET', '/user/{userId}/filter/{filterId}', async (request, caller) => {
      checkOwn(request, caller);
      const filter = loadFilter(server.store, caller.userId, request.params.filterId ?? '');
      if (filter === undefined) throw new MatrixError(404, 'M_NOT_FOUND', 'there is no filter of this ID');
      return ok(filter);
    }),
  ];
}

function capabilities(options: ClientOptions): JsonObject {
  return {
    'm.room_versions': {
      default: options.defaultRoomVersion ?? ROOM_VERSION_DEFAULT,
      available: Object.fromEntries(ROOM_VERSIONS.map((version) => [version, 'stable'])),
    },
    'm.change_password': { enabled: false },
    'm.set_displayname': { enabled: false },
    'm.set_avatar_url': { enabled: false },
    'm.3pid_changes': { enabled: false },
    'm.get_login_token': { enabled: false },
  };
}

function checkOwn(request: ApiRequest, caller: Caller): void {
  if (request.params.userId !== caller.userId) throw new MatrixError(403, 'M_FORBIDDEN', 'these are the filters of another user');
}
