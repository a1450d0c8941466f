/** A federation client without a network: each request goes straight to the endpoints of a server in this process. */

import type { ApiRequest, ApiResponse, Endpoint } from '../api/endpoint.js';
import { makeRouter } from '../http/router.js';
import type { ServerName } from '../kernel/matrix/ids.js';
import type { JsonValue } from '../kernel/matrix/json.js';
import { MatrixError } from '../kernel/matrix/matrix-error.js';
import type { SigningKey } from '../kernel/signatures/ed25519.js';
import { xMatrixHeader } from '../kernel/signatures/x-matrix.js';
import type { FederationClient, RemoteRequest } from '../remote/federation-client.js';
import { requestUri } from '../remote/federation-client.js';
import { RemoteError } from '../remote/remote-error.js';

/** A client that signs with `key` and reaches the server of these endpoints, whatever server it names. */
export function loopbackClient(endpoints: readonly Endpoint[], key: SigningKey): FederationClient {
  const router = makeRouter(endpoints);
  const ask = async (destination: ServerName, request: RemoteRequest): Promise<ApiResponse> => {
    const { method, content } = request;
    const rawUri = requestUri(request);
    const url = new URL(rawUri, 'https://loopback.invalid');
    const { endpoint, params } = router.match(method, url.pathname);
    const authorization = xMatrixHeader({ method, uri: rawUri, origin: key.serverName, destination, content }, key);
    const apiRequest: ApiRequest = {
      method,
      rawUri,
      params,
      query: url.searchParams,
      header: (name) => (name === 'authorization' ? authorization : undefined),
      body: content === undefined ? Buffer.alloc(0) : Buffer.from(JSON.stringify(content), 'utf8'),
      signal: new AbortController().signal,
    };
    try {
      return await endpoint.handle(apiRequest);
    } catch (error) {
      if (!(error instanceof MatrixError)) throw error;
      const { status, errcode } = error;
      throw new RemoteError('refused', destination, `${method} ${rawUri}: ${error.message}`, { status, errcode });
    }
  };
  return {
    requestJson: async (destination, request) => {
      const chunks: Uint8Array[] = [];
      for await (const chunk of chunksOf(await ask(destination, request))) chunks.push(chunk);
      return JSON.parse(Buffer.concat(chunks).toString('utf8')) as JsonValue;
    },
    requestStream: async (destination, request) => ({
      contentLength: undefined,
      body: chunksOf(await ask(destination, request)),
    }),
    close: async () => undefined,
  };
}

async function* chunksOf(response: ApiResponse): AsyncGenerator<Buffer> {
  if ('json' in response) yield Buffer.from(JSON.stringify(response.json), 'utf8');
  else if ('bytes' in response) yield Buffer.from(response.bytes);
  else for await (const chunk of response.chunks) yield Buffer.from(chunk);
}
