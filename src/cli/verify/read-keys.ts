/**
 * The keys file of `joinery verify`: public keys by server and key ID, each as base64 or, as key responses have them, as an
 * object with `key` and until when it may be believed.
 */

import type { Readable } from 'node:stream';
import { parseKeyId, parseServerName } from '../../kernel/matrix/ids.js';
import type { JsonObject, JsonValue } from '../../kernel/matrix/json.js';
import { isJsonObject } from '../../kernel/matrix/json.js';
import type { JsonCursor } from '../document/json-cursor.js';
import { JsonPlaceError } from '../document/json-cursor.js';
import { readDocument } from '../document/read-document.js';
import type { ThreadData } from './verify-thread.js';

/** Largest keys file: hundreds of thousands of servers; every thread holds all keys. */
export const KEYS_FILE_BYTES_MAX = 64 * 1024 * 1024;

/** 32 bytes in either alphabet, padded or not. */
const PUBLIC_KEY = /^[A-Za-z0-9+/_-]{43}=?$/;

type KeyList = Exclude<ThreadData['keys'], undefined>;

export async function readKeys(path: string, standardInput: Readable): Promise<KeyList> {
  const keys: KeyList[number][] = [];
  await readDocument(path, standardInput, (cursor) => walkServers(cursor, keys), KEYS_FILE_BYTES_MAX);
  return keys;
}

function walkServers(cursor: JsonCursor, keys: KeyList[number][]): void {
  const servers = new Set<string>();
  cursor.readObject((server, serverOffset) => {
    if (parseServerName(server) === undefined) throw wrong(serverOffset, server, 'is not a server name');
    if (servers.has(server)) throw wrong(serverOffset, server, 'stands twice');
    servers.add(server);
    const keyIds = new Set<string>();
    cursor.readObject((keyId, keyOffset) => {
      if (parseKeyId(keyId) === undefined) throw wrong(keyOffset, keyId, 'is not a key ID such as "ed25519:id"');
      if (keyIds.has(keyId)) throw wrong(keyOffset, keyId, 'stands twice');
      keyIds.add(keyId);
      const start = cursor.skipValue();
      const value = JSON.parse(cursor.bytes.toString('utf8', start, cursor.at)) as JsonValue;
      const key: JsonObject = isJsonObject(value) ? value : { key: value };
      if (typeof key.key !== 'string' || !PUBLIC_KEY.test(key.key)) {
        throw wrong(start, keyId, 'is not a public key: base64 of 32 bytes, or an object with that as "key"');
      }
      keys.push([server, keyId, Buffer.from(key.key, 'base64'), validUntil(key, keyId, start)]);
    });
  });
}

/** Milliseconds since 1970; a key of which nothing is said is believed for ever. */
function validUntil(key: JsonObject, keyId: string, offset: number): number {
  const stated = key.expired_ts ?? key.valid_until_ts ?? Number.MAX_SAFE_INTEGER;
  if (typeof stated === 'number' && Number.isSafeInteger(stated)) return stated;
  throw wrong(offset, keyId, 'is valid until a time that is not in milliseconds since 1970');
}

function wrong(offset: number, name: string, words: string): JsonPlaceError {
  return new JsonPlaceError(offset, `${JSON.stringify(name)} ${words}`);
}
