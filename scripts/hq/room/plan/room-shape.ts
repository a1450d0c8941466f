/**
 * The rehearsal room in numbers: how many events of which kind a room of a given size has, and everything else that
 * follows from seed, size and room version alone. It is synthetic: no public dump of Matrix HQ's send_join exists.
 *
 * Known of the model: 206,479 events, 85,000 of them state, all but 44 of those memberships. Assumed: the number of
 * servers and their heavy-tailed (Zipf) share of users, the mix of memberships, how often members changed theirs.
 */

import { hash } from 'node:crypto';
import type { RoomVersionRules } from '../../../../src/kernel/matrix/room-versions.js';
import { roomVersionRules } from '../../../../src/kernel/matrix/room-versions.js';
import { STORE_FORMAT } from '../../../../src/store/open-store.js';

/** Part of the cache key: raise it with every change of what the builder writes. */
export const BUILDER_FORMAT = 1;

export const HQ_EVENTS = 206_479;
const HQ_STATE_EVENTS = 85_000;
const HQ_SERVERS = 3_000;
/** State events that are no memberships, at every size. */
export const NON_MEMBER_STATE = 44;

/** Below this the auth chain of the non-member state leaves too few events for memberships and all that is planted. */
export const EVENTS_MIN = 2_000;
/** The expected state and the shards in flight are held in memory: 1.5 GB at a million events, twice that here. */
export const EVENTS_MAX = 2_000_000;

/**
 * Changes of power levels and join rules, three events each. The same at every size, so that the partial answer's auth
 * chain (1,561 events) and with it the time to join do not depend on the size.
 */
export const SPINE_ROUNDS = 520;
/** Administrators, who take turns. */
export const ADMINS = 4;
/** Spine events in the current state: create, power levels, join rules, the administrators' memberships. */
const SPINE_STATE = 3 + ADMINS;
/** The other non-member state events, all sent by administrators. */
export const FURNITURE = NON_MEMBER_STATE - 3;
/** State events that no shard makes. */
const SHARED_STATE = SPINE_STATE + FURNITURE;

/** Parts that are built independently of each other; each ends in one of P's prev_events, of which there may be 20. */
const SHARDS = 16;

/**
 * Below this a room has fewer parts, so that the users of one planted group fit into each, and a smaller share of its
 * memberships in the state: at the model's share, users who left would have no room for their join in the auth chain.
 */
const SMALL_ROOM_EVENTS = 4_000;
const SMALL_ROOM_SHARDS = 8;
const SMALL_ROOM_STATE_SHARE = 0.55;

/** Planted events of each kind at full size; each group has one of every kind. */
const PLANTED_GROUPS_HQ = 36;
const PLANTED_GROUPS_MIN = 3;
const DEAD_SERVERS = 6;
const SERVERS_MIN = 40;

/** Everything under this suffix is an origin server that the harness stands in for. */
export const ORIGIN_SUFFIX = 'hq.test';
/** Servers whose keys nobody can give. */
export const DEAD_SUFFIX = 'dead.hq.test';
export const RESIDENT = 'hs1.test';
export const JOINER = 'hs2.test';

/** What a room is made from. */
export interface RoomRecipe {
  readonly seed: string;
  readonly events: number;
  readonly roomVersion: string;
}

/** A recipe that cannot be built; the message says why. */
export class RecipeError extends Error {
  override readonly name = 'RecipeError';
}

export interface RoomShape extends RoomRecipe {
  readonly rules: RoomVersionRules;
  /** Events of the resident's current state. */
  readonly stateEvents: number;
  readonly servers: readonly string[];
  readonly deadServers: readonly string[];
  readonly plantedGroups: number;
  /** Number of shards. */
  readonly shards: number;
  /** Spine events that are in the auth chain only. */
  readonly spineChainEvents: number;
}

/** The part of a shard in the whole. */
export interface ShardShape {
  readonly index: number;
  /** Users; each has one event in the state. */
  readonly users: number;
  /** Further events, in the auth chain only. */
  readonly chainEvents: number;
  /** NID of the first user's state event; the others follow. */
  readonly firstStateNid: number;
  readonly firstChainNid: number;
  readonly plantedGroups: number;
}

/** The numbers of a room. Throws RecipeError. */
export function roomShape(recipe: RoomRecipe): RoomShape {
  const { events, roomVersion } = recipe;
  const rules = roomVersionRules(roomVersion);
  if (rules === undefined || (roomVersion !== '11' && roomVersion !== '12')) {
    throw new RecipeError(`room version ${roomVersion}: the rehearsal room is built in versions 11 and 12`);
  }
  if (!Number.isInteger(events) || events < EVENTS_MIN || events > EVENTS_MAX) {
    throw new RecipeError(
      `${events} events: the rehearsal room has ${EVENTS_MIN} to ${EVENTS_MAX}; the auth chain of its power levels and join rules alone is ${3 * SPINE_ROUNDS + 4} events`,
    );
  }
  const scale = events / HQ_EVENTS;
  const serverCount = Math.max(SERVERS_MIN, Math.round(HQ_SERVERS * scale));
  const spineChainEvents = 1 + 3 * (SPINE_ROUNDS + 1) - SPINE_STATE;
  const small = events < SMALL_ROOM_EVENTS;
  const shardEvents = events - spineChainEvents - SHARED_STATE;
  return {
    ...recipe,
    rules,
    stateEvents: small
      ? SHARED_STATE + Math.round(shardEvents * SMALL_ROOM_STATE_SHARE)
      : Math.round(HQ_STATE_EVENTS * scale),
    servers: Array.from({ length: serverCount }, (_, i) => `s${String(i + 1).padStart(4, '0')}.${ORIGIN_SUFFIX}`),
    deadServers: Array.from({ length: DEAD_SERVERS }, (_, i) => `d${i + 1}.${DEAD_SUFFIX}`),
    plantedGroups: Math.max(PLANTED_GROUPS_MIN, Math.round(PLANTED_GROUPS_HQ * scale)),
    shards: small ? SMALL_ROOM_SHARDS : SHARDS,
    spineChainEvents,
  };
}

/** Part `index` of `total` things dealt to the shards as evenly as possible, and how many the shards before it got. */
function share(total: number, index: number, shards: number): { count: number; before: number } {
  const before = Math.floor((total * index) / shards);
  return { count: Math.floor((total * (index + 1)) / shards) - before, before };
}

/**
 * The numbers of one shard. NIDs: first the state (create, power levels, join rules, administrators, furniture, then the
 * shards' users), then the auth chain (spine, then shards), then the forward extremity.
 */
export function shardShape(shape: RoomShape, index: number): ShardShape {
  const { shards } = shape;
  const users = share(shape.stateEvents - SHARED_STATE, index, shards);
  const chain = share(shape.events - shape.stateEvents - shape.spineChainEvents, index, shards);
  return {
    index,
    users: users.count,
    chainEvents: chain.count,
    firstStateNid: 1 + SHARED_STATE + users.before,
    firstChainNid: 1 + shape.stateEvents + shape.spineChainEvents + chain.before,
    plantedGroups: Math.floor(shape.plantedGroups / shards) + (index < shape.plantedGroups % shards ? 1 : 0),
  };
}

/** NID of the forward extremity P. */
export function extremityNid(shape: RoomShape): number {
  return shape.events + 1;
}

/** A short hexadecimal name for a recipe as this builder builds it. */
export function recipeKey(recipe: RoomRecipe): string {
  const { seed, events, roomVersion } = recipe;
  return hash('sha256', JSON.stringify([BUILDER_FORMAT, STORE_FORMAT, seed, events, roomVersion]), 'hex').slice(0, 16);
}
