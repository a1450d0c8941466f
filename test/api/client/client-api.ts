/** The client-server API over a ServedRoom's server: calls endpoints as the HTTP layer would, and registers users. */

import { clientEndpoints } from '../../../src/api/client/client-endpoints.js';
import type { ApiRequest, HttpMethod } from '../../../src/api/endpoint.js';
import { makeRouter } from '../../../src/http/router.js';
import type { JsonObject, JsonValue } from '../../../src/kernel/matrix/json.js';
import { MatrixError } from '../../../src/kernel/matrix/matrix-error.js';
import type { RoomServer } from '../../../src/room/room-server.js';
import { sendEvent } from '../../../src/room/send-event.js';
import { FullStateWaiters } from '../../../src/sync/full-state-waiters.js';
import { SyncNotifier } from '../../../src/sync/sync-notifier.js';
import { textOf } from '../federation/served-room.js';

export interface ClientAnswer {
  readonly status: number;
  readonly body: JsonObject;
}

export interface ClientCall {
  readonly token?: string;
  readonly content?: JsonValue;
  readonly signal?: AbortSignal;
}

export class ClientApi {
  readonly waiters: FullStateWaiters;
  readonly notifier = new SyncNotifier();
  readonly #router;

  constructor(server: RoomServer, registrationEnabled = true) {
    this.waiters = new FullStateWaiters(server.store, server.clock);
    this.#router = makeRouter(
      clientEndpoints(server, {
        registrationEnabled,
        defaultRoomVersion: '11',
        partialJoins: true,
        waiters: this.waiters,
        sync: this.notifier,
        rooms: {
          join: () => Promise.reject(new Error('no test joins through this')),
          send: (roomId, sender, intent, alongside) => sendEvent(server, roomId, { ...intent, sender }, alongside),
        },
      }),
    );
  }

  /** Calls `/_matrix/client/v3` + `path`. */
  async call(method: HttpMethod, path: string, options: ClientCall = {}): Promise<ClientAnswer> {
    const { token, content, signal } = options;
    const rawUri = `/_matrix/client/v3${path}`;
    const url = new URL(rawUri, 'https://hs1');
    const { endpoint, params } = this.#router.match(method, url.pathname);
    const request: ApiRequest = {
      method,
      rawUri,
      params,
      query: url.searchParams,
      header: (name) => (name === 'authorization' && token !== undefined ? `Bearer ${token}` : undefined),
      body: content === undefined ? Buffer.alloc(0) : Buffer.from(JSON.stringify(content)),
      signal: signal ?? new AbortController().signal,
    };
    try {
      const response = await endpoint.handle(request);
      return { status: response.status, body: JSON.parse(await textOf(response)) as JsonObject };
    } catch (error) {
      if (!(error instanceof MatrixError)) throw error;
      return { status: error.status, body: error.toBody() };
    }
  }

  register(content: JsonObject): Promise<ClientAnswer> {
    return this.call('POST', '/register', { content: { auth: { type: 'm.login.dummy' }, ...content } });
  }

  /** Registers a user and returns the access token. */
  async tokenOf(username: string): Promise<string> {
    const { status, body } = await this.register({ username, password: 'correct horse' });
    if (status !== 200) throw new Error(`register: ${JSON.stringify(body)}`);
    return String(body.access_token);
  }
}
