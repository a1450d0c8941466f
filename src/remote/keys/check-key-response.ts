/**
 * Checks a server's published keys: they must be of the server that was asked about and signed by one of the keys they
 * list, so that nobody else's word counts, a notary's least of all.
 *
 * Pure. Everything comes from the wire. Specification v1.19, server-server API, "Publishing Keys" and "Querying Keys
 * Through Another Server".
 */

import type { KeyId, ServerName } from '../../kernel/matrix/ids.js';
import { parseKeyId, parseServerName } from '../../kernel/matrix/ids.js';
import type { JsonObject, JsonValue } from '../../kernel/matrix/json.js';
import { isJsonObject } from '../../kernel/matrix/json.js';
import { PUBLIC_KEY_BYTES } from '../../kernel/signatures/ed25519.js';
import { verifyJson } from '../../kernel/signatures/sign-json.js';
import type { StoredKey, StoredKeyResponse } from '../../store/server-keys.js';

/** A key counts at most this long after it was fetched, whatever its server says (rooms/v5.md). */
export const KEY_VALIDITY_MAX_MS = 7 * 24 * 60 * 60 * 1000;
/** Keys of one server that are read, current and old together; real servers have a handful after years. */
export const KEYS_PER_SERVER_MAX = 200;

export interface CheckedKeyResponse {
  readonly server: ServerName;
  readonly keys: ReadonlyMap<KeyId, StoredKey>;
  readonly row: StoredKeyResponse;
}

export type KeyResponseVerdict =
  | { readonly ok: true; readonly checked: CheckedKeyResponse }
  | { readonly ok: false; readonly reason: string };

/** A notary and the keys of it that are good now. */
export interface NotaryIdentity {
  readonly server: ServerName;
  readonly key: (keyId: KeyId) => StoredKey | undefined;
}

function refused(reason: string): KeyResponseVerdict {
  return { ok: false, reason };
}

function publicKeyOf(entry: JsonValue | undefined): Buffer | undefined {
  const text = isJsonObject(entry) ? entry.key : undefined;
  if (typeof text !== 'string' || text.length > 64) return undefined;
  const publicKey = Buffer.from(text, 'base64');
  return publicKey.length === PUBLIC_KEY_BYTES ? publicKey : undefined;
}

function timestampOf(value: JsonValue | undefined): number | undefined {
  return typeof value === 'number' && Number.isSafeInteger(value) && value >= 0 ? value : undefined;
}

/** Keys of other algorithms and unreadable entries are left out: one odd key does not spoil the others. */
function readKeys(response: JsonObject, validUntilTs: number): Map<KeyId, StoredKey> {
  const keys = new Map<KeyId, StoredKey>();
  const current = isJsonObject(response.verify_keys) ? response.verify_keys : {};
  for (const [name, entry] of Object.entries(current).slice(0, KEYS_PER_SERVER_MAX)) {
    const keyId = parseKeyId(name);
    const publicKey = publicKeyOf(entry);
    if (keyId?.startsWith('ed25519:') !== true || publicKey === undefined) continue;
    keys.set(keyId, { publicKey, validUntilTs, expired: false });
  }
  const old = isJsonObject(response.old_verify_keys) ? response.old_verify_keys : {};
  for (const [name, entry] of Object.entries(old).slice(0, KEYS_PER_SERVER_MAX - keys.size)) {
    const keyId = parseKeyId(name);
    const publicKey = publicKeyOf(entry);
    const expiredTs = isJsonObject(entry) ? timestampOf(entry.expired_ts) : undefined;
    if (keyId?.startsWith('ed25519:') !== true || publicKey === undefined || expiredTs === undefined) continue;
    if (!keys.has(keyId)) keys.set(keyId, { publicKey, validUntilTs: expiredTs, expired: true });
  }
  return keys;
}

/** `verifyJson` throws where there is no canonical form: such a response is unsigned. */
function isSigned(response: JsonObject, signer: ServerName, keyId: KeyId, key: StoredKey): boolean {
  try {
    return verifyJson(response, signer, keyId, key.publicKey);
  } catch {
    // CanonicalJsonError: floats or lone surrogates, which no signature can cover.
    return false;
  }
}

function isSignedByNotary(response: JsonObject, notary: NotaryIdentity): boolean {
  const signatures = isJsonObject(response.signatures) ? response.signatures[notary.server] : undefined;
  if (!isJsonObject(signatures)) return false;
  return Object.keys(signatures)
    .slice(0, KEYS_PER_SERVER_MAX)
    .some((name) => {
      const keyId = parseKeyId(name);
      const key = keyId === undefined ? undefined : notary.key(keyId);
      return keyId !== undefined && key !== undefined && isSigned(response, notary.server, keyId, key);
    });
}

/**
 * The keys of `response`, which must be of one of `servers`; through a notary, signed by it as well. `now` is when it
 * was fetched, in milliseconds since 1970.
 */
export function checkKeyResponse(
  response: JsonValue | undefined,
  servers: { has(server: ServerName): boolean },
  notary: NotaryIdentity | undefined,
  now: number,
): KeyResponseVerdict {
  if (!isJsonObject(response)) return refused('not an object');
  const server = parseServerName(response.server_name);
  if (server === undefined || !servers.has(server)) return refused('of a server that was not asked about');
  const stated = timestampOf(response.valid_until_ts);
  if (stated === undefined) return refused('no valid_until_ts');
  const validUntilTs = Math.min(stated, now + KEY_VALIDITY_MAX_MS);
  const keys = readKeys(response, validUntilTs);
  const ownSignature = [...keys].some(([keyId, key]) => !key.expired && isSigned(response, server, keyId, key));
  if (!ownSignature) return refused('not signed by one of its own verify_keys');
  if (notary !== undefined && !isSignedByNotary(response, notary)) {
    return refused(`not signed by the notary ${notary.server}`);
  }
  return { ok: true, checked: { server, keys, row: { response, fetchedTs: now, validUntilTs } } };
}
