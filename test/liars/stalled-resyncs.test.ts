import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { RESYNCS_AT_ONCE_MAX, Resyncs, STALLED_MS } from '../../src/partial-state/resyncs.js';
import type { ScriptedResident } from '../support/scripted-resident.js';
import { startScriptedResident } from '../support/scripted-resident.js';
import { ROOM_NOW, ScriptedRoom } from '../support/scripted-room.js';
import { LoopbackJoiner } from './loopback-joiner.js';

let resident: ScriptedResident;
let joiner: LoopbackJoiner;
let now: number;
/** Looks for resyncs to which nothing comes: run by the test instead of by a timer. */
let look: () => void;
let resyncs: Resyncs;
let rooms: ScriptedRoom[];
let honest: ScriptedRoom;
let completed: number[];
/** Whose `state_ids` was asked for. */
let asked: Set<ScriptedRoom>;

beforeEach(async () => {
  now = ROOM_NOW;
  completed = [];
  asked = new Set();
  resident = await startScriptedResident(['hs1', 'hs3']);
  joiner = await LoopbackJoiner.start(resident, { clock: () => now });
  rooms = Array.from({ length: RESYNCS_AT_ONCE_MAX + 1 }, (_, n) => new ScriptedRoom(`silent${n}`));
  honest = rooms.at(-1) as ScriptedRoom;
  for (const room of rooms) {
    room.member('@carol:hs3', 'join');
    resident.rooms.push(room);
    await joiner.join(room, 'hs1');
  }
  const real = globalThis.setTimeout;
  vi.spyOn(globalThis, 'setTimeout').mockImplementation(((run: () => void, ms = 0) => {
    if (ms !== STALLED_MS / 2) return real(run, ms);
    look = run;
    return real(() => undefined, 0);
  }) as typeof setTimeout);
  resyncs = new Resyncs(joiner.server, (nid) => completed.push(nid));
});
afterEach(async () => {
  vi.restoreAllMocks();
  await resyncs.close();
  await joiner.close();
  await resident.close();
});

/** Starts them all, and waits until as many as run at once are being asked. */
function startAll(): Promise<void> {
  for (const { roomId } of rooms) resyncs.start(roomId);
  return vi.waitFor(() => expect(asked.size).toBe(RESYNCS_AT_ONCE_MAX));
}

describe('while as many servers as there are resyncs at once say nothing', () => {
  beforeEach(() => {
    resident.script = ({ endpoint, uri }) => {
      const room = rooms.find(({ roomId }) => decodeURIComponent(uri).includes(`/${roomId}`));
      if (endpoint !== 'state_ids' || room === undefined) return undefined;
      asked.add(room);
      return room === honest ? undefined : () => undefined;
    };
  });

  it('a room that waits begins after a minute, and completes beside them', async () => {
    await startAll();
    look();
    now += STALLED_MS - 1;
    look();
    expect(asked.has(honest)).toBe(false);
    now += STALLED_MS;
    look();
    await vi.waitFor(() => expect(completed).toEqual([joiner.room(honest).nid]), { timeout: 30_000 });
    expect(joiner.members(honest)).toEqual(honest.members());
  });

  it('a resync to which something comes keeps its place', async () => {
    await startAll();
    look();
    for (let n = 0; n < 5; n++) {
      now += STALLED_MS - 1;
      for (const { roomId } of rooms.slice(0, -1)) joiner.server.progressOf(roomId).stage('state_ids').bytes += 1;
      look();
    }
    expect(asked.has(honest)).toBe(false);
  });
});
