import { describe, expect, it } from 'vitest';
import type { Endpoint, HttpMethod } from '../../src/api/endpoint.js';
import { makeRouter } from '../../src/http/router.js';
import { MatrixError } from '../../src/kernel/matrix/matrix-error.js';

function endpoint(method: HttpMethod, path: string): Endpoint {
  return { method, path, bodyBytesMax: 0, handle: () => Promise.reject(new Error('not called')) };
}

const router = makeRouter([
  endpoint('GET', '/_matrix/federation/v1/version'),
  endpoint('GET', '/_matrix/federation/v1/event/{eventId}'),
  endpoint('GET', '/rooms/{roomId}/state'),
  endpoint('GET', '/rooms/{roomId}/state/{eventType}'),
  endpoint('GET', '/rooms/{roomId}/state/{eventType}/'),
  endpoint('GET', '/rooms/{roomId}/state/{eventType}/{stateKey}'),
  endpoint('PUT', '/rooms/{room}/send/{txnId}'),
  endpoint('GET', '/rooms/all/state'),
  endpoint('POST', '/keys/changes'),
  endpoint('GET', '/keys/{keyId}'),
]);

function match(method: string, path: string): string {
  try {
    const { endpoint: found, params } = router.match(method, path);
    return `${found.path} ${JSON.stringify(params)}`;
  } catch (error) {
    if (!(error instanceof MatrixError)) throw error;
    return `${error.status} ${error.errcode}`;
  }
}

describe('router', () => {
  it.each([
    ['GET', '/_matrix/federation/v1/version', '/_matrix/federation/v1/version {}'],
    ['GET', '/_matrix/federation/v1/event/%24a%2Fb+c', '/_matrix/federation/v1/event/{eventId} {"eventId":"$a/b+c"}'],
    ['GET', '/_matrix/federation/v1/event/$a:b', '/_matrix/federation/v1/event/{eventId} {"eventId":"$a:b"}'],
    ['GET', '/rooms/all/state', '/rooms/all/state {}'],
    ['GET', '/rooms/%61ll/state', '/rooms/{roomId}/state {"roomId":"all"}'],
    ['GET', '/rooms/all/state/m', '/rooms/{roomId}/state/{eventType} {"roomId":"all","eventType":"m"}'],
    ['GET', '/rooms/!r/state/m/', '/rooms/{roomId}/state/{eventType}/ {"roomId":"!r","eventType":"m"}'],
    [
      'GET',
      '/rooms/!r/state/m/%F0%9F%8D%95',
      '/rooms/{roomId}/state/{eventType}/{stateKey} {"roomId":"!r","eventType":"m","stateKey":"🍕"}',
    ],
    ['PUT', '/rooms/!r/send/1', '/rooms/{room}/send/{txnId} {"room":"!r","txnId":"1"}'],
    ['POST', '/keys/changes', '/keys/changes {}'],
    ['GET', '/keys/changes', '/keys/{keyId} {"keyId":"changes"}'],
  ])('%s %s is served by %s', (method, path, expected) => {
    expect(match(method, path)).toBe(expected);
  });

  it.each([
    '/',
    '/nothing',
    '/rooms',
    '/rooms/!r',
    '/rooms//state',
    '/rooms/!r/state/m/k/',
    '/_matrix/federation/v1/version/',
  ])('answers 404 M_UNRECOGNIZED to the unknown path %s', (path) => {
    expect(match('GET', path)).toBe('404 M_UNRECOGNIZED');
  });

  it('answers 405 M_UNRECOGNIZED to another method of a known path, and knows the methods that it has', () => {
    expect(match('DELETE', '/keys/changes')).toBe('405 M_UNRECOGNIZED');
    expect(match('PUT', '/rooms/all/state')).toBe('405 M_UNRECOGNIZED');
    expect(router.methodsAt('/keys/changes')).toEqual(['GET', 'POST']);
  });

  it.each(['/keys/%', '/keys/%zz', '/keys/%FF'])(
    'answers 400 M_INVALID_PARAM to the bad percent-encoding %s',
    (path) => {
      expect(match('GET', path)).toBe('400 M_INVALID_PARAM');
    },
  );

  it('refuses two endpoints at one method and path, and templates that are not whole segments', () => {
    expect(() => makeRouter([endpoint('GET', '/a/{x}'), endpoint('GET', '/a/{y}')])).toThrow(
      'Two endpoints take GET /a/{y} (the other is /a/{x}).',
    );
    expect(() => makeRouter([endpoint('GET', '/a/x{y}')])).toThrow('whole segment');
    expect(() => makeRouter([endpoint('GET', '/{x}/{x}')])).toThrow('{x} twice');
    expect(() => makeRouter([endpoint('GET', 'a')])).toThrow('does not begin with a slash');
  });
});
