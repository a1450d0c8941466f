/**
 * The rehearsal room against the kernel: what the builder does not plant must be an ordinary room by the specification's
 * rules, and what it plants must fail as its manifest says. No part of this test knows how the builder works.
 */

import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { buildShard } from '../../scripts/hq/room/events/build-shard.js';
import { buildSpine } from '../../scripts/hq/room/events/build-spine.js';
import { type Manifest, type PlantedEvent, readExpectedState, stateKeyText } from '../../scripts/hq/room/manifest.js';
import { signingKeyOf } from '../../scripts/hq/room/plan/names.js';
import { DEAD_SUFFIX, RESIDENT, RecipeError, roomShape } from '../../scripts/hq/room/plan/room-shape.js';
import { writeServerKeys } from '../../scripts/hq/room/server-keys.js';
import { writeDataFolder } from '../../scripts/hq/room/write-data-folder.js';
import { authEventTypes } from '../../src/kernel/event-auth/auth-event-types.js';
import { checkAuthEvents } from '../../src/kernel/event-auth/check-auth-events.js';
import { checkAuthRules } from '../../src/kernel/event-auth/check-auth-rules.js';
import { stateOfAuthEvents } from '../../src/kernel/event-auth/state-lookup.js';
import type { AuthEvent } from '../../src/kernel/matrix/auth-event.js';
import type { RoomId, UserId } from '../../src/kernel/matrix/ids.js';
import { serverNameOf } from '../../src/kernel/matrix/ids.js';
import { parsePdu } from '../../src/kernel/matrix/parse-pdu.js';
import { verifyPdu } from '../../src/kernel/signatures/verify-pdu.js';
import { authEventOf, loadBody, loadEvent } from '../../src/store/events.js';
import type { EventNid } from '../../src/store/nids.js';
import { openStore, type Store } from '../../src/store/open-store.js';
import { loadRoom } from '../../src/store/rooms.js';
import { keyResponse } from '../../src/store/server-keys.js';
import { stateEntries } from '../../src/store/state-groups.js';

const EVENTS = 4_000;
/** The least that there is. */
const EVENTS_MIN = 2_000;
const PARTIAL_AUTH_CHAIN_MIN = 1_500;

interface Built {
  readonly manifest: Manifest;
  readonly folder: string;
  readonly store: Store;
  readonly events: readonly AuthEvent[];
  readonly texts: readonly string[];
  readonly byId: ReadonlyMap<string, AuthEvent>;
  readonly planted: ReadonlyMap<string, PlantedEvent>;
}

const folders: string[] = [];
const stores: Store[] = [];

async function build(roomVersion: string, seed = 'test', count = EVENTS): Promise<Built> {
  const folder = await mkdtemp(join(tmpdir(), 'joinery-room-'));
  folders.push(folder);
  const shape = roomShape({ seed, events: count, roomVersion });
  const dataDir = join(folder, 'data');
  const manifest = await writeDataFolder(shape, { dataDir, folder, threads: 0, onProgress: () => undefined });
  const store = openStore(dataDir, RESIDENT);
  stores.push(store);
  const events: AuthEvent[] = [];
  const texts: string[] = [];
  for (let nid = 1; nid <= count; nid++) {
    events.push(authEventOf(loadEvent(store, shape.rules, nid as EventNid)!, manifest.room_id as RoomId));
    texts.push(loadBody(store, nid as EventNid)!.toString('utf8'));
  }
  const byId = new Map(events.map((event) => [event.eventId as string, event]));
  const planted = new Map(manifest.planted.map((event) => [event.event_id, event]));
  return { manifest, folder, store, events, texts, byId, planted };
}

afterAll(async () => {
  for (const store of stores) await store.close();
  for (const folder of folders) await rm(folder, { recursive: true, force: true });
});

function authChain(built: Built, from: readonly AuthEvent[]): Set<string> {
  const chain = new Set<string>();
  const open = [...from];
  for (let event = open.pop(); event !== undefined; event = open.pop()) {
    for (const id of event.authEventIds) {
      if (chain.has(id)) continue;
      chain.add(id);
      open.push(built.byId.get(id)!);
    }
  }
  return chain;
}

function stateEvents(built: Built): AuthEvent[] {
  const room = loadRoom(built.store, built.manifest.room_id as RoomId)!;
  return [...stateEntries(built.store, room.currentGroup)].map(([, nid]) => built.events[nid - 1]!);
}

function verdictOf(built: Built, event: AuthEvent): string {
  const { rules } = roomShape({ seed: '', events: EVENTS, roomVersion: built.manifest.room_version });
  const authEvents = event.authEventIds.map((id) => built.byId.get(id)!);
  const listed = checkAuthEvents(rules, event, authEvents);
  if (!listed.allowed) return listed.code;
  const verdict = checkAuthRules(rules, event, stateOfAuthEvents(rules, authEvents, built.events[0]));
  return verdict.allowed ? 'allowed' : verdict.code;
}

describe.each([
  ['11', EVENTS],
  ['12', EVENTS],
  ['11', EVENTS_MIN],
])('the rehearsal room in version %s, of %i events', (version, count) => {
  let built: Built;
  beforeAll(async () => {
    built = await build(version, 'test', count);
  });

  it('has the events, the state and the auth chain that its shape says', () => {
    const state = stateEvents(built);
    expect(built.byId.size).toBe(count);
    expect(state.length).toBe(built.manifest.state_events);
    expect(state.filter((event) => event.type !== 'm.room.member').length).toBe(44);
    expect(new Set(state.map((event) => stateKeyText(event.type, event.stateKey!))).size).toBe(state.length);
    const whole = new Set([...authChain(built, state), ...state.map((event) => event.eventId)]);
    // The create event is an implied auth event in version 12, and in the state of both.
    expect(whole.size).toBe(count);
  });

  it('has an auth chain of the non-member state of at least 1,500 events', () => {
    const nonMembers = stateEvents(built).filter((event) => event.type !== 'm.room.member');
    const chain = authChain(built, nonMembers);
    for (const event of nonMembers) chain.delete(event.eventId);
    expect(chain.size).toBeGreaterThanOrEqual(PARTIAL_AUTH_CHAIN_MIN);
    for (const id of chain) expect(built.planted.has(id)).toBe(false);
  });

  it('has auth_events that are what the auth events selection picks of the state before each event', () => {
    const { rules } = roomShape({ seed: '', events: EVENTS, roomVersion: version });
    const state = new Map<string, string>();
    const inOrder = [...built.events].sort((a, b) => a.originServerTs - b.originServerTs);
    for (const event of inOrder) {
      const selected = authEventTypes(rules, event).map(([type, key]) => state.get(stateKeyText(type, key)));
      const plantedCode = built.planted.get(event.eventId)?.code;
      if (plantedCode !== 'auth-event-rejected') {
        expect(event.authEventIds).toEqual(selected.filter((id) => id !== undefined));
      }
      const forgedPowerLevels = plantedCode !== undefined && event.type === 'm.room.power_levels';
      if (!forgedPowerLevels) state.set(stateKeyText(event.type, event.stateKey!), event.eventId);
    }
  });

  it('has prev_events that are known and less deep', () => {
    for (const event of built.events.slice(1)) {
      expect(event.prevEventIds.length).toBeGreaterThanOrEqual(1);
      const depths = event.prevEventIds.map((id) => built.byId.get(id)?.depth ?? Number.NaN);
      expect(event.depth).toBe(1 + Math.max(...depths));
    }
  });

  it('passes the authorization rules but for what is planted, which fails with its code', () => {
    for (const event of built.events) {
      const planted = built.planted.get(event.eventId);
      const own = planted?.verdict === 'rejected' && planted.code !== 'auth-event-rejected';
      expect(verdictOf(built, event)).toBe(own ? planted.code : 'allowed');
    }
  });

  it('verifies but for what is planted', () => {
    const { rules } = roomShape({ seed: '', events: EVENTS, roomVersion: version });
    const keys = new Map<string, Buffer>();
    for (const [i, text] of built.texts.entries()) {
      const parsed = parsePdu(rules, text, { pushed: true });
      if (!parsed.ok) throw new Error(parsed.reason);
      const verification = verifyPdu(rules, parsed.pdu, (server) => {
        if (server.endsWith(DEAD_SUFFIX)) return undefined;
        if (!keys.has(server)) keys.set(server, signingKeyOf('test', server).publicKey);
        return { publicKey: keys.get(server)!, validUntilTs: Number.MAX_SAFE_INTEGER };
      });
      const { eventId } = built.events[i]!;
      const code = built.planted.get(eventId)?.code;
      if (code === 'no-key') expect(verification.outcome).toBe('missing-keys');
      else if (code === 'bad-signature') expect(verification).toMatchObject({ outcome: 'dropped', code });
      else
        expect(verification).toMatchObject({
          outcome: 'verified',
          eventId,
          redacted: code === 'content-hash-mismatch',
        });
    }
  });

  it('says of every event that rests on a planted one what must become of it', () => {
    const refused = (verdict: string): Set<string> =>
      new Set(built.manifest.planted.filter((one) => one.verdict === verdict).map((one) => one.event_id));
    const dropped = refused('dropped');
    const rejected = refused('rejected');
    for (const event of built.events) {
      const planted = built.planted.get(event.eventId);
      const onDropped = event.authEventIds.some((id) => dropped.has(id));
      const onRejected = event.authEventIds.some((id) => rejected.has(id));
      if (onDropped) expect(['auth-event-missing', 'no-key']).toContain(planted?.code);
      else if (onRejected) expect(planted?.code).toBe('auth-event-rejected');
      else expect(['auth-event-missing', 'auth-event-rejected']).not.toContain(planted?.code);
    }
  });

  it('expects of a joining server the state without what it refuses', async () => {
    const expected = await readExpectedState(built.folder);
    const believed = stateEvents(built).filter((event) => {
      const verdict = built.planted.get(event.eventId)?.verdict;
      return verdict === undefined || verdict === 'redacted';
    });
    expect(expected.size).toBe(believed.length);
    for (const event of believed) {
      expect(expected.get(stateKeyText(event.type, event.stateKey!))).toBe(event.eventId);
    }
    const joined = believed.filter((event) => event.content.membership === 'join');
    expect(built.manifest.members).toBe(joined.length);
  });

  it('has at least three planted events of each code', () => {
    const counts = new Map<string, number>();
    for (const { code } of built.manifest.planted) counts.set(code, (counts.get(code) ?? 0) + 1);
    expect(counts.size).toBe(10);
    expect(Math.min(...counts.values())).toBeGreaterThanOrEqual(3);
  });

  it('gives the resident the keys of all living origin servers', () => {
    const shape = roomShape({ seed: 'test', events: count, roomVersion: version });
    writeServerKeys(built.store, shape, 1_800_000_000_000);
    for (const event of built.events) {
      const server = serverNameOf(event.sender as UserId);
      const living = !server.endsWith(DEAD_SUFFIX) && server !== RESIDENT;
      expect(keyResponse(built.store, server) !== undefined).toBe(living);
    }
  });
});

describe('a recipe', () => {
  it('makes the same room from the same seed and another from another', async () => {
    const [first, second, other] = [await build('11', 'a'), await build('11', 'a'), await build('11', 'b')];
    expect(second.manifest).toEqual(first.manifest);
    expect(second.texts).toEqual(first.texts);
    expect(other.manifest.room_id).not.toBe(first.manifest.room_id);
  });

  it('makes the smallest room of any seed', () => {
    for (const seed of ['c', 'd', 'e', 'f', 'g', 'h']) {
      const shape = roomShape({ seed, events: EVENTS_MIN, roomVersion: '11' });
      const spine = buildSpine(shape);
      const shards = Array.from({ length: shape.shards }, (_, index) => buildShard(shape, spine, index));
      const made = shards.reduce((sum, { pack }) => sum + pack.nids.length, spine.events.length);
      expect(made).toBe(EVENTS_MIN);
    }
  });

  it('is refused when the room would be too small or of another version', () => {
    expect(() => roomShape({ seed: 's', events: EVENTS_MIN - 1, roomVersion: '11' })).toThrow(RecipeError);
    expect(() => roomShape({ seed: 's', events: 5_000, roomVersion: '10' })).toThrow(RecipeError);
  });
});
