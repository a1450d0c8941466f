/**
 * Cross-origin headers: web clients call the client-server API from other origins, nothing else does. Federation and
 * the admin API answer without them.
 * Specification v1.19, client-server API, "Web Browser Clients".
 */

const CORS_PREFIXES = ['/_matrix/client/', '/_matrix/media/', '/.well-known/matrix/'];

const CORS_HEADERS: Readonly<Record<string, string>> = {
  'access-control-allow-origin': '*',
  'access-control-allow-methods': 'GET, POST, PUT, DELETE, OPTIONS',
  'access-control-allow-headers': 'X-Requested-With, Content-Type, Authorization',
};

const NO_HEADERS: Readonly<Record<string, string>> = {};

/** Whether browsers of other origins may call this path. */
export function isCrossOriginPath(path: string): boolean {
  return CORS_PREFIXES.some((prefix) => path.startsWith(prefix));
}

/** Headers that each answer at this path carries, errors included. */
export function corsHeaders(path: string): Readonly<Record<string, string>> {
  return isCrossOriginPath(path) ? CORS_HEADERS : NO_HEADERS;
}
