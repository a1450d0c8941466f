/**
 * Signing keys of other servers, each by (server, key ID), and the signed answers they came from, which we hand on when
 * we are asked as a notary. Specification v1.19, server-server API, "Retrieving server keys".
 */

import type { KeyId, ServerName } from '../kernel/matrix/ids.js';
import type { JsonObject } from '../kernel/matrix/json.js';
import type { VerifyKey } from '../kernel/signatures/verify-pdu.js';
import type { StoreReader, StoreWriter } from './open-store.js';

export interface StoredKey extends VerifyKey {
  /** It stood under `old_verify_keys`: good for events up to `validUntilTs`, never for requests. */
  readonly expired: boolean;
}

export interface StoredKeyResponse {
  /** The signed object as received. */
  readonly response: JsonObject;
  readonly fetchedTs: number;
  readonly validUntilTs: number;
}

export function serverKey(reader: StoreReader, server: ServerName, keyId: KeyId): StoredKey | undefined {
  return reader.tables.server_keys.get([server, keyId]) as StoredKey | undefined;
}

export function putServerKey(writer: StoreWriter, server: ServerName, keyId: KeyId, key: StoredKey): void {
  writer.tables.server_keys.put([server, keyId], key);
}

export function keyResponse(reader: StoreReader, server: ServerName): StoredKeyResponse | undefined {
  return reader.tables.key_responses.get(server) as StoredKeyResponse | undefined;
}

export function putKeyResponse(writer: StoreWriter, server: ServerName, row: StoredKeyResponse): void {
  writer.tables.key_responses.put(server, row);
}
