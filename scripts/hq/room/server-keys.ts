/**
 * The keys of the origin servers, as the resident has fetched them: it answers for them as a notary. Written into each
 * run's copy of the data folder, fetched just now, because a key response is good for a time and the cached room is not
 * to age. Servers without keys (`*.dead.hq.test`) are left out: nobody can answer for those.
 */

import type { JsonObject } from '../../../src/kernel/matrix/json.js';
import type { SigningKey } from '../../../src/kernel/signatures/ed25519.js';
import { unpadded } from '../../../src/kernel/signatures/hash-pdu.js';
import { signJson } from '../../../src/kernel/signatures/sign-json.js';
import type { Store } from '../../../src/store/open-store.js';
import { joinedServers } from '../../../src/store/rooms.js';
import { putKeyResponse, putServerKey } from '../../../src/store/server-keys.js';
import { ROOM_NID } from './events/build-event.js';
import { signingKeyOf } from './plan/names.js';
import { DEAD_SUFFIX, RESIDENT, type RoomShape } from './plan/room-shape.js';

const DAY_MS = 86_400_000;
/** How long origin servers say that their keys are valid. */
const VALID_DAYS = 90;
/** How long a receiver may believe it (room version 5, "Signing key validity period"). */
const BELIEVED_DAYS = 7;

/** Writes key and signed key response of every living origin server; returns how many. */
export function writeServerKeys(store: Store, shape: RoomShape, nowTs: number): number {
  const servers = new Set<string>(shape.servers);
  for (const [server] of joinedServers(store, ROOM_NID)) servers.add(server);
  const living = [...servers].filter((server) => server !== RESIDENT && !server.endsWith(`.${DEAD_SUFFIX}`));
  store.write((writer) => {
    for (const server of living.sort()) {
      const key = signingKeyOf(shape.seed, server);
      const validUntilTs = nowTs + VALID_DAYS * DAY_MS;
      putServerKey(writer, key.serverName, key.keyId, {
        publicKey: key.publicKey,
        validUntilTs: nowTs + BELIEVED_DAYS * DAY_MS,
        expired: false,
      });
      putKeyResponse(writer, key.serverName, {
        response: keyResponse(key, validUntilTs),
        fetchedTs: nowTs,
        validUntilTs,
      });
    }
  });
  return living.length;
}

function keyResponse(key: SigningKey, validUntilTs: number): JsonObject {
  const response = {
    old_verify_keys: {},
    server_name: key.serverName,
    valid_until_ts: validUntilTs,
    verify_keys: { [key.keyId]: { key: unpadded(key.publicKey.toString('base64')) } },
  };
  return signJson(response, key);
}
