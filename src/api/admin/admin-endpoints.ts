/** What an operator can ask: how far a room's resync is, to try it now, what was refused and why, what the process costs. */

import { hash, timingSafeEqual } from 'node:crypto';
import type { RoomId } from '../../kernel/matrix/ids.js';
import type { JsonObject } from '../../kernel/matrix/json.js';
import { MatrixError } from '../../kernel/matrix/matrix-error.js';
import type { RoomServer } from '../../room/room-server.js';
import type { Endpoint, HttpMethod } from '../endpoint.js';
import { ok, SMALL_BODY_BYTES_MAX } from '../endpoint.js';
import { refusalsReport } from './refusals-report.js';
import { resyncNow } from './resync-now.js';
import { resyncReport } from './resync-report.js';

export interface AdminOptions {
  readonly token: string;
  readonly processReport: () => JsonObject;
  /** Tries the resync of a room with partial state now, whatever its back-off says. */
  readonly tryResyncNow: (roomId: RoomId) => void;
}

export function adminEndpoints(server: RoomServer, options: AdminOptions): readonly Endpoint[] {
  const expected = hash('sha256', options.token, 'buffer');
  const endpoint = (
    method: HttpMethod,
    path: string,
    answer: (params: Readonly<Record<string, string>>) => JsonObject,
  ): Endpoint => ({
    method,
    path: `/_joinery/admin/v1${path}`,
    bodyBytesMax: SMALL_BODY_BYTES_MAX,
    handle: async (request) => {
      const given = /^Bearer (.+)$/.exec(request.header('authorization') ?? '')?.[1] ?? '';
      if (!timingSafeEqual(hash('sha256', given, 'buffer'), expected)) {
        throw new MatrixError(
          401,
          'M_UNKNOWN_TOKEN',
          'the admin token is missing or wrong: send the one from admin.token_file',
        );
      }
      return ok(answer(request.params));
    },
  });
  return [
    endpoint('GET', '/rooms/{roomId}/resync', ({ roomId }) => resyncReport(server, roomId as RoomId)),
    endpoint('POST', '/rooms/{roomId}/resync', ({ roomId }) =>
      resyncNow(server, roomId as RoomId, options.tryResyncNow),
    ),
    endpoint('GET', '/rooms/{roomId}/refusals', ({ roomId }) => refusalsReport(server, roomId as RoomId)),
    endpoint('GET', '/process', options.processReport),
  ];
}
