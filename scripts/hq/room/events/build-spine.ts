/**
 * The spine: create event, then rounds of (administrator's membership, power levels, join rules), each authorised by the
 * one before. It is what every other event of the room is authorised by, and the long auth chain of a partial answer.
 * It is small and made again, the same, in every thread.
 */

import type { JsonObject } from '../../../../src/kernel/matrix/json.js';
import { avatarUrl, displayName, keyRing, letters } from '../plan/names.js';
import type { Random } from '../plan/random.js';
import { randomOf } from '../plan/random.js';
import type { RoomShape } from '../plan/room-shape.js';
import { ADMINS, FURNITURE, SPINE_ROUNDS } from '../plan/room-shape.js';
import type { BuiltEvent, EventBuilder, EventPlan, EventRef } from './build-event.js';
import { buildEvent, ROOM_NID } from './build-event.js';
import { furniture } from './furniture.js';

/** When the room began, in milliseconds since 1970 (June 2023); a round takes a day. */
const ROOM_BEGAN_TS = 1_685_600_000_000;
const ROUND_MS = 86_400_000;
/** Shards' events of a round come this long after the spine's. */
export const SHARD_DELAY_MS = 600_000;
/** One round in so many closes the room for a day. */
const CLOSED_EVERY = 16;
const CLOSED_FROM = 8;

export function roundTs(round: number): number {
  return ROOM_BEGAN_TS + round * ROUND_MS;
}

/** Whether anyone may join in this round. The last round is always open. */
export function isRoundOpen(round: number): boolean {
  return round < CLOSED_FROM || round === SPINE_ROUNDS || round % CLOSED_EVERY !== CLOSED_EVERY - 1;
}

/** The user IDs of the administrators; the first created the room. */
export function adminIds(shape: RoomShape): readonly string[] {
  return Array.from({ length: ADMINS }, (_, i) => `@admin${i + 1}:${shape.servers[i]}`);
}

/** What the state held after a round. */
export interface SpineRound {
  readonly powerLevels: EventRef;
  readonly joinRules: EventRef;
  /** By administrator; undefined before they joined. */
  readonly admins: readonly (EventRef | undefined)[];
}

export interface Spine {
  readonly builder: EventBuilder & { readonly roomId: string };
  readonly create: EventRef;
  readonly rounds: readonly SpineRound[];
  readonly adminIds: readonly string[];
  /** Every spine event and the furniture. */
  readonly events: readonly BuiltEvent[];
  /** The (type, state key) of the events with NIDs 1, 2, ...: the state but for the shards' users. */
  readonly stateKeys: readonly (readonly [type: string, stateKey: string])[];
}

/** NIDs of the state that the spine makes; the furniture's follow the administrators'. */
const CREATE_NID = 1;
const POWER_LEVELS_NID = 2;
const JOIN_RULES_NID = 3;
const FIRST_ADMIN_NID = 4;
const FIRST_FURNITURE_NID = FIRST_ADMIN_NID + ADMINS;

/** Makes the spine of a room. */
export function buildSpine(shape: RoomShape): Spine {
  const random = randomOf(shape.seed, 'spine');
  const admins = adminIds(shape);
  const keyOf = keyRing(shape.seed);
  const { rules } = shape;
  const oldRoomId = `!${letters(random, 18)}:${shape.servers[0]}`;
  const roomNid = ROOM_NID;
  const bare: EventBuilder = { rules, roomNid, roomId: rules.roomIdIsCreateEventHash ? undefined : oldRoomId, keyOf };
  const create = buildEvent(bare, createPlan(shape, admins[0] as string), () => undefined);
  const roomId = rules.roomIdIsCreateEventHash ? `!${create.id.slice(1)}` : oldRoomId;
  const builder = { rules, roomNid, roomId, keyOf };

  const events: BuiltEvent[] = [create];
  const rounds: SpineRound[] = [];
  const members: (EventRef | undefined)[] = new Array(ADMINS).fill(undefined);
  let powerLevels: EventRef | undefined;
  let joinRules: EventRef | undefined;
  let last: EventRef = create;
  let nextChainNid = shape.stateEvents + 1;
  const add = (plan: Omit<EventPlan, 'nid' | 'prevs'>, stateNid: number | undefined): EventRef => {
    const nid = stateNid ?? nextChainNid++;
    const built = buildEvent(builder, { ...plan, nid, prevs: [last] }, (type, stateKey) => {
      if (type === 'm.room.create') return create;
      if (type === 'm.room.power_levels') return powerLevels;
      if (type === 'm.room.join_rules') return joinRules;
      return members[admins.indexOf(stateKey)];
    });
    events.push(built);
    last = { id: built.id, nid: built.nid, depth: built.depth };
    return last;
  };

  for (let round = 0; round <= SPINE_ROUNDS; round++) {
    const turn = round % ADMINS;
    const sender = admins[turn] as string;
    const ts = roundTs(round);
    const isLast = round === SPINE_ROUNDS;
    members[turn] = add(
      {
        type: 'm.room.member',
        stateKey: sender,
        sender,
        content: adminContent(random, sender),
        originServerTs: ts + 1_000,
      },
      round > SPINE_ROUNDS - ADMINS ? FIRST_ADMIN_NID + turn : undefined,
    );
    powerLevels = add(
      {
        type: 'm.room.power_levels',
        stateKey: '',
        sender,
        content: powerLevelsContent(shape, random, admins),
        originServerTs: ts + 2_000,
      },
      isLast ? POWER_LEVELS_NID : undefined,
    );
    const rule = isRoundOpen(round) ? 'public' : 'invite';
    joinRules = add(
      {
        type: 'm.room.join_rules',
        stateKey: '',
        sender,
        content: { join_rule: rule },
        originServerTs: ts + 3_000,
      },
      isLast ? JOIN_RULES_NID : undefined,
    );
    rounds.push({ powerLevels, joinRules, admins: [...members] });
  }
  const spine = { builder, create, rounds, adminIds: admins, events };
  const items = furniture(shape, spine);
  events.push(...items.map((item) => item.event));
  const stateKeys: (readonly [string, string])[] = [
    ['m.room.create', ''],
    ['m.room.power_levels', ''],
    ['m.room.join_rules', ''],
    ...admins.map((admin) => ['m.room.member', admin] as const),
    ...items.map((item) => [item.type, item.stateKey] as const),
  ];
  if (stateKeys.length !== FIRST_FURNITURE_NID - 1 + FURNITURE)
    throw new Error('the spine has another size than planned');
  return { ...spine, stateKeys };
}

/** The NID of the n-th piece of furniture. */
export function furnitureNid(n: number): number {
  return FIRST_FURNITURE_NID + n;
}

function createPlan(shape: RoomShape, creator: string): EventPlan {
  return {
    nid: CREATE_NID,
    type: 'm.room.create',
    stateKey: '',
    sender: creator,
    content: { room_version: shape.roomVersion },
    originServerTs: ROOM_BEGAN_TS,
    prevs: [],
  };
}

function adminContent(random: Random, admin: string): JsonObject {
  return {
    avatar_url: avatarUrl(random, admin.slice(admin.indexOf(':') + 1)),
    displayname: displayName(random),
    membership: 'join',
  };
}

/** Moderators come and go; the administrators stay. A creator of infinite power must not be named. */
function powerLevelsContent(shape: RoomShape, random: Random, admins: readonly string[]): JsonObject {
  const users: Record<string, number> = {};
  for (const admin of shape.rules.privilegedCreators ? admins.slice(1) : admins) users[admin] = 100;
  for (let i = 0; i < 8; i++) {
    if (random.chance(0.7)) users[`@moderator${i + 1}:${shape.servers[i % shape.servers.length]}`] = 50;
  }
  return {
    ban: 50,
    events: {
      'm.room.avatar': 50,
      'm.room.canonical_alias': 50,
      'm.room.history_visibility': 100,
      'm.room.name': 50,
      'm.room.power_levels': 100,
      'm.room.server_acl': 100,
      'm.room.tombstone': 100,
    },
    events_default: 0,
    invite: 0,
    kick: 50,
    redact: 50,
    state_default: 50,
    users,
    users_default: 0,
  };
}
