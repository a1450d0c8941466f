/**
 * The workload that benches and tests share: a public room of made-up servers, every event of it hashed and signed.
 *
 * All of it follows from one seed, keys included, so that two runs on two machines have the same bytes. Larger and odder
 * rooms are scripts/hq's business; this one is members only.
 */

import { hash } from 'node:crypto';
import type { EventId, KeyId, RoomId, ServerName } from '../src/kernel/matrix/ids.js';
import type { JsonObject } from '../src/kernel/matrix/json.js';
import type { RoomVersionRules } from '../src/kernel/matrix/room-versions.js';
import { roomVersionRules } from '../src/kernel/matrix/room-versions.js';
import type { SigningKey } from '../src/kernel/signatures/ed25519.js';
import { signingKeyOfSeed } from '../src/kernel/signatures/ed25519.js';
import type { SignedEvent } from '../src/kernel/signatures/sign-pdu.js';
import { hashAndSignPdu } from '../src/kernel/signatures/sign-pdu.js';
import type { KeyLookup } from '../src/kernel/signatures/verify-pdu.js';

/** The one seed of every bench. */
export const SEED = 20_240_601;
/** 2024-06-01, the `origin_server_ts` of the first event, in milliseconds since 1970. */
const FIRST_TS = 1_717_200_000_000;
const KEY_ID = 'ed25519:b' as KeyId;

/** Numbers from 0 up to 1, the same for the same seed (mulberry32). */
export function seededRandom(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}

/** `items` in an order that the seed decides. */
export function shuffled<T>(items: readonly T[], seed: number): T[] {
  const random = seededRandom(seed);
  const mixed = [...items];
  for (let i = mixed.length - 1; i > 0; i--) {
    const other = Math.floor(random() * (i + 1));
    [mixed[i], mixed[other]] = [mixed[other] as T, mixed[i] as T];
  }
  return mixed;
}

/** The signing key of a made-up server. */
export function benchKey(serverName: string, keyId: string = KEY_ID): SigningKey {
  return signingKeyOfSeed(serverName as ServerName, keyId as KeyId, hash('sha256', `${SEED} ${serverName}`, 'buffer'));
}

/** Looks keys up among `keys`, each valid until `validUntilTs`. */
export function lookupOf(keys: readonly SigningKey[], validUntilTs = FIRST_TS * 2): KeyLookup {
  return (server, keyId) => {
    const key = keys.find((candidate) => candidate.serverName === server && candidate.keyId === keyId);
    return key === undefined ? undefined : { publicKey: key.publicKey, validUntilTs };
  };
}

export interface SignedRoom {
  readonly rules: RoomVersionRules;
  readonly roomId: RoomId;
  readonly keys: readonly SigningKey[];
  /** Create first, each event after its auth events. */
  readonly events: readonly SignedEvent[];
  /** `events` as JSON, in UTF-8. */
  readonly bodies: readonly Buffer[];
}

/** A room of version 11 with `members` joined users on `servers` servers. */
export function signedRoom(members: number, servers: number): SignedRoom {
  const rules = roomVersionRules('11');
  if (rules === undefined) throw new Error('room version 11 is not known');
  const keys = Array.from({ length: servers }, (_, i) => benchKey(`s${i}.test`));
  const roomId = '!bench:s0.test' as RoomId;
  const random = seededRandom(SEED);
  const events: SignedEvent[] = [];
  const send = (user: number, type: string, stateKey: string, content: JsonObject, auth: readonly EventId[]) => {
    const key = keys[user % servers] as SigningKey;
    const event = hashAndSignPdu(
      rules,
      {
        room_id: roomId,
        sender: `@u${user}:${key.serverName}`,
        type,
        state_key: stateKey,
        content,
        depth: events.length + 1,
        origin_server_ts: FIRST_TS + events.length,
        auth_events: auth,
        prev_events: events.length === 0 ? [] : [(events.at(-1) as SignedEvent).eventId],
      },
      key,
    );
    events.push(event);
    return event.eventId;
  };
  const join = (user: number, auth: readonly EventId[]) =>
    send(
      user,
      'm.room.member',
      `@u${user}:s${user % servers}.test`,
      {
        membership: 'join',
        displayname: `User ${user} ${'åäö日本'.slice(0, Math.floor(random() * 5))}`,
        avatar_url: `mxc://s${user % servers}.test/${Math.floor(random() * 2 ** 32).toString(36)}`,
      },
      auth,
    );
  const create = send(0, 'm.room.create', '', { room_version: '11' }, []);
  const creator = join(0, [create]);
  const power = send(0, 'm.room.power_levels', '', { users: { '@u0:s0.test': 100 } }, [create, creator]);
  const rule = send(0, 'm.room.join_rules', '', { join_rule: 'public' }, [create, creator, power]);
  for (let user = 1; user < members; user++) join(user, [create, power, rule]);
  const bodies = events.map(({ json }) => Buffer.from(JSON.stringify(json), 'utf8'));
  return { rules, roomId, keys, events, bodies };
}
