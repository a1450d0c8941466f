/** The client-server API: every endpoint that is served. */

import type { RoomServer } from '../../room/room-server.js';
import type { Endpoint } from '../endpoint.js';
import { accountEndpoints } from './accounts.js';
import type { ClientOptions } from './client-context.js';
import { membershipEndpoints } from './membership.js';
import { roomStateEndpoints } from './room-state.js';
import { sendEndpoints } from './send.js';
import { serverFactEndpoints } from './server-facts.js';
import { settingsEndpoints } from './settings.js';
import { syncEndpoints } from './sync.js';

export function clientEndpoints(server: RoomServer, options: ClientOptions): readonly Endpoint[] {
  const context = { ...options, server };
  return [
    ...serverFactEndpoints(context),
    ...accountEndpoints(context),
    ...settingsEndpoints(context),
    ...membershipEndpoints(context),
    ...sendEndpoints(context),
    ...roomStateEndpoints(context),
    ...syncEndpoints(context),
  ];
}
