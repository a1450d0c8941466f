/**
 * Finds the endpoint of a method and a path.
 *
 * A path is matched segment by segment as received; only the values of names are percent-decoded, each by itself, so
 * that `%2F` never becomes a separator. A static segment wins over a name; a name matches one segment that is not empty;
 * a trailing slash is a segment of its own (`/state/{eventType}/` is another path than `/state/{eventType}`).
 * Specification v1.19, client-server API, "Common error codes" (M_UNRECOGNIZED: 404 and 405).
 */

import type { Endpoint, HttpMethod } from '../api/endpoint.js';
import { MatrixError } from '../kernel/matrix/matrix-error.js';

interface Leaf {
  readonly endpoint: Endpoint;
  /** The template's names, in order. */
  readonly names: readonly string[];
}

interface Node {
  readonly staticChildren: Map<string, Node>;
  nameChild: Node | undefined;
  readonly leafByMethod: Map<string, Leaf>;
}

export interface Route {
  readonly endpoint: Endpoint;
  readonly params: Readonly<Record<string, string>>;
}

export interface Router {
  /**
   * The endpoint and its decoded params.
   *
   * @throws MatrixError 404 (unknown path), 405 (known path, other method), 400 (a segment that does not decode)
   */
  match(method: string, path: string): Route;
  /** Methods of the endpoints at `path`, for the `Allow` header; empty when the path is unknown. */
  methodsAt(path: string): readonly HttpMethod[];
}

function emptyNode(): Node {
  return { staticChildren: new Map(), nameChild: undefined, leafByMethod: new Map() };
}

/** A router over `endpoints`. Two endpoints with one method and one path are a bug and throw. */
export function makeRouter(endpoints: readonly Endpoint[]): Router {
  const root = emptyNode();
  for (const endpoint of endpoints) insert(root, endpoint);
  return {
    match(method, path) {
      const segments = segmentsOf(path);
      const values: string[] = [];
      const leaf = findLeaf(root, segments, 0, method, values);
      if (leaf !== undefined) return { endpoint: leaf.endpoint, params: decodeParams(leaf.names, values) };
      if (methodsUnder(root, segments, 0).length > 0) {
        throw new MatrixError(405, 'M_UNRECOGNIZED', `This endpoint does not take ${method}.`);
      }
      throw new MatrixError(404, 'M_UNRECOGNIZED', 'This server has no endpoint at this path.');
    },
    methodsAt: (path) => [...new Set(methodsUnder(root, segmentsOf(path), 0))].sort(),
  };
}

/** The segments of an absolute path; a trailing slash gives an empty last one. */
function segmentsOf(path: string): readonly string[] {
  return path.slice(1).split('/');
}

function insert(root: Node, endpoint: Endpoint): void {
  if (!endpoint.path.startsWith('/')) throw new Error(`Endpoint path ${endpoint.path} does not begin with a slash.`);
  const names: string[] = [];
  let node = root;
  for (const segment of segmentsOf(endpoint.path)) {
    const name = /^\{(\w+)\}$/.exec(segment)?.[1];
    if (name === undefined) {
      if (segment.includes('{')) throw new Error(`Endpoint path ${endpoint.path}: a name must be a whole segment.`);
      const child = node.staticChildren.get(segment) ?? emptyNode();
      node.staticChildren.set(segment, child);
      node = child;
    } else {
      if (names.includes(name)) throw new Error(`Endpoint path ${endpoint.path} has {${name}} twice.`);
      names.push(name);
      node.nameChild ??= emptyNode();
      node = node.nameChild;
    }
  }
  const taken = node.leafByMethod.get(endpoint.method);
  if (taken !== undefined) {
    throw new Error(`Two endpoints take ${endpoint.method} ${endpoint.path} (the other is ${taken.endpoint.path}).`);
  }
  node.leafByMethod.set(endpoint.method, { endpoint, names });
}

/** Visits at most each node of the tree once, whatever the path. Leaves the names' raw values in `values`. */
function findLeaf(
  node: Node,
  segments: readonly string[],
  at: number,
  method: string,
  values: string[],
): Leaf | undefined {
  const segment = segments[at];
  if (segment === undefined) return node.leafByMethod.get(method);
  const child = node.staticChildren.get(segment);
  const found = child === undefined ? undefined : findLeaf(child, segments, at + 1, method, values);
  if (found !== undefined || node.nameChild === undefined || segment === '') return found;
  values.push(segment);
  const named = findLeaf(node.nameChild, segments, at + 1, method, values);
  if (named === undefined) values.pop();
  return named;
}

function methodsUnder(node: Node, segments: readonly string[], at: number): HttpMethod[] {
  const segment = segments[at];
  if (segment === undefined) return [...node.leafByMethod.values()].map((leaf) => leaf.endpoint.method);
  const child = node.staticChildren.get(segment);
  const methods = child === undefined ? [] : methodsUnder(child, segments, at + 1);
  if (node.nameChild !== undefined && segment !== '') methods.push(...methodsUnder(node.nameChild, segments, at + 1));
  return methods;
}

function decodeParams(names: readonly string[], values: readonly string[]): Readonly<Record<string, string>> {
  return Object.fromEntries(names.map((name, index) => [name, decodeSegment(name, values[index] ?? '')]));
}

function decodeSegment(name: string, value: string): string {
  try {
    return decodeURIComponent(value);
  } catch (cause) {
    if (!(cause instanceof URIError)) throw cause;
    const message = `The path segment for ${name} is not percent-encoded UTF-8.`;
    throw new MatrixError(400, 'M_INVALID_PARAM', message, {}, { cause });
  }
}
