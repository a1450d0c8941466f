/** What a client asks before anything else: versions and capabilities. Specification v1.19, client-server API, "API Versions". */

import { ROOM_VERSIONS } from '../../kernel/matrix/room-versions.js';
import type { Endpoint } from '../endpoint.js';
import { ok, SMALL_BODY_BYTES_MAX } from '../endpoint.js';
import type { ClientContext } from './client-context.js';
import { userEndpoint } from './client-context.js';

/** Versions of the specification whose client-server API this one is a part of. */
const VERSIONS = ['r0.6.1', ...Array.from({ length: 11 }, (_, i) => `v1.${i + 1}`)];

export function serverFactEndpoints(context: ClientContext): readonly Endpoint[] {
  return [
    {
      method: 'GET',
      path: '/_matrix/client/versions',
      bodyBytesMax: SMALL_BODY_BYTES_MAX,
      handle: async () => ok({ versions: VERSIONS, unstable_features: {} }),
    },
    ...userEndpoint(context, 'GET', '/capabilities', async () =>
      ok({
        capabilities: {
          'm.change_password': { enabled: false },
          'm.room_versions': {
            default: context.defaultRoomVersion,
            available: Object.fromEntries(ROOM_VERSIONS.map((version) => [version, 'stable'])),
          },
        },
      }),
    ),
  ];
}
