/**
 * The X-Matrix authorization scheme: the header in both directions, and the object that its signature covers.
 * Deployed servers quote or do not quote values and use any letter case in names; all of that is read, one form is sent.
 * Specification v1.19, server-server API, "Request Authentication".
 */

import type { KeyId, ServerName } from '../matrix/ids.js';
import { parseKeyId, parseServerName } from '../matrix/ids.js';
import type { JsonObject, JsonValue } from '../matrix/json.js';
import type { SigningKey } from './ed25519.js';
import { sign, verify } from './ed25519.js';
import { unpadded } from './hash-pdu.js';
import { signedBytes } from './sign-json.js';

export interface XMatrix {
  readonly origin: ServerName;
  readonly destination: ServerName | undefined;
  readonly keyId: KeyId;
  readonly signature: string;
}

/** Longest header that is read, in characters. */
export const X_MATRIX_CHARS_MAX = 4096;

// name = token or quoted string; RFC 9110 section 11.2. Colons are let through unquoted, as old servers send them. White
// space is matched in one place only: anybody may send a header, and two ways to match it would cost its length squared.
const PARAMETER = /\s*(?:,\s*)?([A-Za-z0-9_-]+)\s*=\s*(?:"((?:[^"\\]|\\.)*)"|([^\s,"]+))/y;

/** The header's content, or undefined when it is not X-Matrix or lacks a parameter. */
export function parseXMatrix(header: string): XMatrix | undefined {
  if (header.length > X_MATRIX_CHARS_MAX || !/^X-Matrix\s/i.test(header)) return undefined;
  const values = new Map<string, string>();
  PARAMETER.lastIndex = 'X-Matrix'.length;
  while (PARAMETER.lastIndex < header.length) {
    const at = PARAMETER.lastIndex;
    const match = PARAMETER.exec(header);
    if (match === null) {
      if (header.slice(at).trim() !== '') return undefined;
      break;
    }
    const name = (match[1] as string).toLowerCase();
    if (values.has(name)) return undefined;
    values.set(name, match[2]?.replace(/\\(.)/g, '$1') ?? match[3] ?? '');
  }
  const origin = parseServerName(values.get('origin'));
  const keyId = parseKeyId(values.get('key'));
  const signature = values.get('sig');
  if (origin === undefined || keyId === undefined || signature === undefined) return undefined;
  const stated = values.get('destination');
  const destination = parseServerName(stated);
  if (stated !== undefined && destination === undefined) return undefined;
  return { origin, destination, keyId, signature };
}

/** What the signature of a request covers. `content` is undefined when there is no body. */
export interface SignedRequest {
  readonly method: string;
  /** Path and query, percent-encoded as on the wire. */
  readonly uri: string;
  readonly origin: ServerName;
  readonly destination: ServerName;
  readonly content: JsonValue | undefined;
}

function requestBytes(request: SignedRequest, strict: boolean): Buffer {
  const { content, ...rest } = request;
  const object: JsonObject = content === undefined ? rest : { ...rest, content };
  return signedBytes(object, strict);
}

/** The Authorization header of a request of ours. Throws CanonicalJsonError where the content has no canonical form. */
export function xMatrixHeader(request: SignedRequest, key: SigningKey): string {
  const signature = unpadded(sign(requestBytes(request, true), key).toString('base64'));
  return `X-Matrix origin="${request.origin}",destination="${request.destination}",key="${key.keyId}",sig="${signature}"`;
}

/**
 * Whether a request's signature is good under that public key (32 bytes). Not `strict`: the content may hold numbers that
 * only events of room versions 1 to 5 have, see exact-numbers.ts. Throws CanonicalJsonError.
 */
export function verifyXMatrix(request: SignedRequest, signature: string, publicKey: Buffer, strict = true): boolean {
  return verify(requestBytes(request, strict), signature, publicKey);
}
