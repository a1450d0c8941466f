/**
 * Listens and serves endpoints: one native app per listener. The only file that starts and stops sockets.
 *
 * Guards: a port is never shared with another process, a failed start leaves nothing listening, and close() ends
 * requests in progress no later than its deadline.
 */

import type { Endpoint } from '../api/endpoint.js';
import { checkTlsFiles, type TlsFiles } from './check-tls-files.js';
import { handleRequest, type ListenerState } from './handle-request.js';
import { HTTP_LIMITS, type HttpLimits, type HttpLog } from './limits.js';
import { loadUws } from './load-uws.js';
import { makeRouter } from './router.js';
import type { Uws, UwsApp, UwsListenSocket } from './uws-types.js';

export interface HttpListener {
  /** Address to listen on. */
  readonly bind: string;
  /** 0 takes a free port, which `addresses` reports. */
  readonly port: number;
  /** Without it the listener speaks plain HTTP: loopback, or behind a proxy. */
  readonly tls?: TlsFiles;
  readonly endpoints: readonly Endpoint[];
}

export interface HttpServerOptions {
  readonly listeners: readonly HttpListener[];
  readonly log: HttpLog;
  /** Default: HTTP_LIMITS. */
  readonly limits?: Partial<HttpLimits>;
}

export interface HttpServer {
  /** Where each listener really listens, in the order of the options. */
  readonly addresses: readonly { readonly bind: string; readonly port: number }[];
  /**
   * Stops listening, refuses new requests, waits for those in progress at most `deadlineMs`, then closes every
   * connection: requests still in progress see their signal aborted.
   */
  close(deadlineMs: number): Promise<void>;
}

/** A listener that could not start; the message names its address. */
export class ListenError extends Error {
  override readonly name = 'ListenError';
}

interface RunningListener {
  readonly app: UwsApp;
  readonly socket: UwsListenSocket;
  readonly state: ListenerState;
  readonly bind: string;
  readonly port: number;
}

/**
 * Starts all listeners, or none.
 *
 * @throws UwsLoadError, TlsFileError or ListenError, each saying which file or address and why
 */
export async function startHttpServer(options: HttpServerOptions): Promise<HttpServer> {
  const uws = loadUws();
  const limits: HttpLimits = { ...HTTP_LIMITS, ...options.limits };
  for (const listener of options.listeners) if (listener.tls !== undefined) checkTlsFiles(listener.tls);
  const running: RunningListener[] = [];
  try {
    for (const listener of options.listeners) running.push(await startListener(uws, listener, limits, options.log));
  } catch (error) {
    for (const started of running) started.app.close();
    throw error;
  }
  return {
    addresses: running.map(({ bind, port }) => ({ bind, port })),
    close: (deadlineMs) => closeListeners(uws, running, deadlineMs),
  };
}

function createApp(uws: Uws, listener: HttpListener): UwsApp {
  if (listener.tls === undefined) return uws.App();
  const { cert, key } = listener.tls;
  try {
    return uws.SSLApp({ cert_file_name: cert, key_file_name: key });
  } catch (cause) {
    throw new ListenError(`TLS with certificate ${cert} and key ${key} was refused by uWebSockets.js`, { cause });
  }
}

function startListener(uws: Uws, listener: HttpListener, limits: HttpLimits, log: HttpLog): Promise<RunningListener> {
  const { bind } = listener;
  const state: ListenerState = {
    router: makeRouter(listener.endpoints),
    limits,
    log,
    bodyBudget: { bytesHeld: 0, bytesMax: limits.bodyBytesTotalMax },
    inFlight: new Set(),
    closing: false,
    onRequestDone: () => undefined,
  };
  const app = createApp(uws, listener);
  app.any('/*', (response, request) => handleRequest(state, response, request));
  return new Promise((resolve, reject) => {
    app.listen(bind, listener.port, uws.LIBUS_LISTEN_EXCLUSIVE_PORT, (socket) => {
      if (socket !== false) {
        resolve({ app, socket, state, bind, port: uws.us_socket_local_port(socket) });
        return;
      }
      const advice = 'Is the port in use, is the address one of this machine, is the port below 1024?';
      reject(new ListenError(`Cannot listen on ${bind} port ${listener.port}. ${advice}`));
    });
  });
}

async function closeListeners(uws: Uws, running: RunningListener[], deadlineMs: number): Promise<void> {
  const closing = running.splice(0);
  for (const { socket, state } of closing) {
    state.closing = true;
    uws.us_listen_socket_close(socket);
  }
  await waitUntilIdle(closing, deadlineMs);
  for (const { app, state } of closing) {
    for (const exchange of state.inFlight) exchange.cut();
    app.close();
  }
}

/** Resolves when no request is in progress, or at the deadline. */
function waitUntilIdle(listeners: readonly RunningListener[], deadlineMs: number): Promise<void> {
  const idle = (): boolean => listeners.every(({ state }) => state.inFlight.size === 0);
  return new Promise((resolve) => {
    if (idle()) return resolve();
    const timer = setTimeout(resolve, deadlineMs);
    for (const { state } of listeners) {
      state.onRequestDone = () => {
        if (!idle()) return;
        clearTimeout(timer);
        resolve();
      };
    }
  });
}
