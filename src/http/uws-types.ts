/**
 * The part of uWebSockets.js that this folder uses, as types of our own: the binaries are loaded without the packages'
 * JavaScript, so their declarations do not apply, and the two packages declare different sets.
 *
 * A request is valid only during the handler's call. A response is valid until it is ended or `onAborted` ran; every
 * call after that throws. A handler that returns without a reply or an `onAborted` ends the process.
 */

export interface UwsRequest {
  /** In lower case. */
  getMethod(): string;
  /** The path exactly as received, nothing decoded or normalized. */
  getUrl(): string;
  /** What follows the `?` exactly as received; undefined without a `?`. */
  getQuery(): string | undefined;
  forEach(visit: (lowerCaseName: string, value: string) => void): void;
}

export interface UwsResponse {
  writeStatus(status: string): UwsResponse;
  writeHeader(name: string, value: string): UwsResponse;
  end(body?: string | Uint8Array, closeConnection?: boolean): UwsResponse;
  endWithoutBody(reportedContentLength?: number, closeConnection?: boolean): UwsResponse;
  /** `[accepted, complete]`: when not accepted, the rest after `getWriteOffset()` is tried again once writable. */
  tryEnd(chunk: Uint8Array, totalBytes: number): [boolean, boolean];
  getWriteOffset(): number;
  onWritable(handler: (offset: number) => boolean): UwsResponse;
  onAborted(handler: () => void): UwsResponse;
  /** The chunk is emptied when the handler returns. Called once with an empty last chunk when there is no body. */
  onData(handler: (chunk: ArrayBuffer, isLast: boolean) => void): UwsResponse;
  cork(write: () => void): UwsResponse;
  close(): UwsResponse;
}

/** An opaque native handle. */
export interface UwsListenSocket {
  readonly uwsListenSocket: never;
}

export interface UwsApp {
  any(pattern: string, handler: (response: UwsResponse, request: UwsRequest) => void): UwsApp;
  listen(host: string, port: number, options: number, done: (socket: UwsListenSocket | false) => void): UwsApp;
  /** Closes every socket of the app, idle ones included. */
  close(): UwsApp;
}

export interface Uws {
  App(): UwsApp;
  SSLApp(options: { readonly key_file_name: string; readonly cert_file_name: string }): UwsApp;
  us_listen_socket_close(socket: UwsListenSocket): void;
  us_socket_local_port(socket: UwsListenSocket): number;
  /** Without it the port is shared (SO_REUSEPORT) and a second server takes half of the first one's connections. */
  readonly LIBUS_LISTEN_EXCLUSIVE_PORT: number;
}
