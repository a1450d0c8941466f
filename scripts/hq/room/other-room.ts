/**
 * A room of the joiner's own, which it has before the rehearsal begins: one user, no other server. What is sent there while
 * the large room is fetched says whether others on the server are held up. Nothing of the large room is in it.
 */

import type { RoomId, UserId } from '../../../src/kernel/matrix/ids.js';
import type { SigningKey } from '../../../src/kernel/signatures/ed25519.js';
import { openStore } from '../../../src/store/open-store.js';
import { putAccessToken, putUser } from '../../../src/store/users.js';
import { writeSmallRoom } from './small-room.js';

/** Who is in it has a token only; no password's hash is this. */
const NO_PASSWORD = '!';
const TOKEN = 'hq_token_of_the_neighbour';

export interface OtherRoom {
  readonly roomId: string;
  readonly accessToken: string;
}

/** Writes the room into a new data folder of the server whose key this is. */
export async function writeOtherRoom(dataDir: string, key: SigningKey): Promise<OtherRoom> {
  const { serverName } = key;
  const roomId = `!neighbours:${serverName}` as RoomId;
  const userId = `@neighbour:${serverName}` as UserId;
  const store = openStore(dataDir, serverName);
  try {
    writeSmallRoom(store, { roomId, serverName, keyOf: () => key, userIds: [userId] });
    store.write((writer) => {
      putUser(writer, userId, { passwordHash: NO_PASSWORD, createdTs: Date.now() });
      putAccessToken(writer, TOKEN, { userId, deviceId: 'HARNESS' });
    });
  } finally {
    await store.close();
  }
  return { roomId, accessToken: TOKEN };
}
