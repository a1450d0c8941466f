/**
 * A small room with real hashes and signatures, made in memory for the self-tests that a server runs when it starts: a chain
 * of power levels as long rooms have, and members of several servers who join and change their names.
 */

import type { EventId, KeyId, RoomId, ServerName } from '../kernel/matrix/ids.js';
import type { JsonObject } from '../kernel/matrix/json.js';
import type { RoomVersionRules } from '../kernel/matrix/room-versions.js';
import type { SigningKey } from '../kernel/signatures/ed25519.js';
import { SEED_BYTES, signingKeyOfSeed } from '../kernel/signatures/ed25519.js';
import { hashAndSignPdu } from '../kernel/signatures/sign-pdu.js';

const SERVERS = 8;
const START_TS = 1_600_000_000_000;

/** The server that the room was made on; no name under `.invalid` is ever resolved. */
export const MADE_UP_RESIDENT = 's0.invalid' as ServerName;
export const MADE_UP_ROOM = `!self-test:${MADE_UP_RESIDENT}` as RoomId;

export interface MadeUpEvent {
  readonly eventId: EventId;
  readonly type: string;
  readonly stateKey: string;
  /** JSON, members in the order of the reference homeserver. */
  readonly text: string;
  /** Numbers of its auth events in the list, from 0. */
  readonly auth: readonly number[];
  readonly depth: number;
}

/** Times that each piece of the room's furniture is changed. */
const FURNITURE_CHANGES = 8;

export interface MadeUpRoom {
  /** Oldest first; all of them state events, each after the one before. */
  readonly events: readonly MadeUpEvent[];
  readonly keys: readonly SigningKey[];
}

/** A few, or some dozens. */
function moderators(n: number): JsonObject {
  return Object.fromEntries(
    Array.from({ length: 1 + ((n * 7) % 40) }, (_, i) => [`@a${i}:s${i % SERVERS}.invalid`, 50]),
  );
}

/** State of every kind of value and nesting that real rooms hold. */
function furniture(n: number): readonly (readonly [type: string, content: JsonObject])[] {
  const names = Array.from({ length: 5 + n }, (_, i) => `*.bad${i}.invalid`);
  return [
    ['m.room.name', { name: `Self-test ${n}` }],
    ['m.room.topic', { topic: `"Quotes", back\\slashes,\nlines, é, 漢字 and 🙂: ${n}` }],
    ['m.room.server_acl', { allow: ['*'], allow_ip_literals: n % 2 === 0, deny: names }],
    ['m.room.canonical_alias', { alias: `#a${n}:s0.invalid`, alt_aliases: [`#b${n}:s0.invalid`, `#c${n}:s1.invalid`] }],
    [
      'm.room.avatar',
      { info: { h: 300, mimetype: 'image/png', size: 20_000 + n, w: 400 }, url: `mxc://s0.invalid/${n}` },
    ],
    ['m.room.history_visibility', { history_visibility: 'shared' }],
    ['m.room.guest_access', { guest_access: 'forbidden' }],
    ['invalid.widget', { data: { at: [-1, 0, n], nested: { deep: [{ on: true }, null, []] }, none: {} }, url: null }],
  ];
}

/** Power levels as rooms have them, more or less complete: to V8 each is another kind of object. */
function levelsLike(n: number): JsonObject {
  const all = { ban: 50, events: { 'm.room.name': 50 }, events_default: 0, invite: 0, kick: 50, redact: 50 };
  const some = Object.entries({ ...all, state_default: 50, users_default: 0 }).slice(n % 8);
  return Object.fromEntries(some);
}

export function makeUpRoom(rules: RoomVersionRules, members: number, powerLevelChanges: number): MadeUpRoom {
  const keys = Array.from({ length: SERVERS }, (_, n) =>
    signingKeyOfSeed(`s${n}.invalid` as ServerName, 'ed25519:1' as KeyId, Buffer.alloc(SEED_BYTES, n + 1)),
  );
  const events: MadeUpEvent[] = [];
  const add = (type: string, stateKey: string, server: number, sender: string, content: JsonObject, auth: number[]) => {
    const last = events.at(-1);
    const depth = events.length + 1;
    const draft = {
      auth_events: auth.map((n) => (events[n] as MadeUpEvent).eventId),
      prev_events: last === undefined ? [] : [last.eventId],
      type,
      room_id: MADE_UP_ROOM,
      sender,
      state_key: stateKey,
      content,
      depth,
      origin_server_ts: START_TS + depth,
    };
    const { eventId, json } = hashAndSignPdu(rules, draft, keys[server] as SigningKey);
    events.push({ eventId, type, stateKey, text: JSON.stringify(json), auth, depth });
    return events.length - 1;
  };
  const admin = `@admin:${MADE_UP_RESIDENT}`;
  const create = add('m.room.create', '', 0, admin, { room_version: rules.version }, []);
  const adminJoin = add('m.room.member', admin, 0, admin, { membership: 'join' }, [create]);
  let levels = add('m.room.power_levels', '', 0, admin, { users: { [admin]: 100 } }, [create, adminJoin]);
  const rule = add('m.room.join_rules', '', 0, admin, { join_rule: 'public' }, [create, levels, adminJoin]);
  for (let n = 0; n < powerLevelChanges; n++) {
    const users = { ...moderators(n), [admin]: 100 };
    levels = add('m.room.power_levels', '', 0, admin, { ...levelsLike(n), users }, [create, levels, adminJoin]);
  }
  for (let n = 0; n < FURNITURE_CHANGES; n++) {
    for (const [type, content] of furniture(n)) add(type, '', 0, admin, content, [create, levels, adminJoin]);
  }
  for (let n = 0; n < members; n++) {
    const server = n % SERVERS;
    const user = `@member${n}:s${server}.invalid`;
    const content = { avatar_url: `mxc://s${server}.invalid/${n}`, displayname: `Member ${n}`, membership: 'join' };
    const joined = add('m.room.member', user, server, user, content, [create, levels, rule]);
    const renamed = { ...content, displayname: `${n} "renamed" é` };
    const renaming = add('m.room.member', user, server, user, renamed, [create, levels, rule, joined]);
    const left = { membership: n % 3 === 0 ? 'leave' : 'ban', reason: 'self-test' };
    if (n % 4 === 0) add('m.room.member', user, 0, admin, left, [create, levels, adminJoin, renaming]);
  }
  return { events, keys };
}
