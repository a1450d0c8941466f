/** Files for `joinery verify`: a signed room as lines, its keys, and single events with something wrong. */

import { writeFileSync } from 'node:fs';
import { benchKey } from '../../../bench/signed-room.js';
import type { JsonObject } from '../../../src/kernel/matrix/json.js';
import { roomVersionRules } from '../../../src/kernel/matrix/room-versions.js';
import type { SigningKey } from '../../../src/kernel/signatures/ed25519.js';
import { addPduSignature, hashAndSignPdu } from '../../../src/kernel/signatures/sign-pdu.js';

export const TS = 1_700_000_000_000;
export const A = benchKey('a.test');
export const B = benchKey('b.test');

export interface SignedAs {
  readonly version?: string;
  readonly key?: SigningKey;
  readonly event?: JsonObject;
}

/** A signed message event of @a:a.test, with the given changes. */
export function signedEvent({ version = '11', key = A, event = {} }: SignedAs = {}): {
  json: JsonObject;
  eventId: string;
} {
  const rules = roomVersionRules(version);
  if (rules === undefined) throw new Error(`room version ${version} is not known`);
  return hashAndSignPdu(
    rules,
    {
      room_id: '!room:a.test',
      sender: '@a:a.test',
      type: 'm.room.message',
      content: { body: 'hello', msgtype: 'm.text' },
      depth: 5,
      origin_server_ts: TS,
      auth_events: [],
      prev_events: [],
      ...event,
    },
    key,
  );
}

/** The event with another signature beside the ones it has. */
export function signedAlsoBy(json: JsonObject, key: SigningKey, version = '11'): JsonObject {
  const rules = roomVersionRules(version);
  if (rules === undefined) throw new Error(`room version ${version} is not known`);
  return addPduSignature(rules, json, key).json;
}

/** A keys file's content. */
export function keysOf(...keys: readonly SigningKey[]): Record<string, Record<string, string>> {
  const file: Record<string, Record<string, string>> = {};
  for (const { serverName, keyId, publicKey } of keys) {
    file[serverName] = { ...file[serverName], [keyId]: publicKey.toString('base64').replace('=', '') };
  }
  return file;
}

export function writeJson(path: string, value: unknown): string {
  writeFileSync(path, JSON.stringify(value));
  return path;
}
