import { setImmediate as nextTurn } from 'node:timers/promises';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { resyncReport } from '../../src/api/admin/resync-report.js';
import type { ServerName } from '../../src/kernel/matrix/ids.js';
import {
  RESYNC_BACK_OFF,
  RESYNCS_AT_ONCE_MAX,
  Resyncs,
  SERVERS_A_ROUND_MAX,
  serversOfRound,
} from '../../src/partial-state/resyncs.js';
import { putPartialState } from '../../src/store/rooms.js';
import type { ScriptedResident } from '../support/scripted-resident.js';
import { answers, startScriptedResident } from '../support/scripted-resident.js';
import { ROOM_NOW, ScriptedRoom } from '../support/scripted-room.js';
import { LoopbackJoiner } from './loopback-joiner.js';

const HOUR_MS = 60 * 60 * 1000;
const DAY_MS = 24 * HOUR_MS;
/** These tests hold twenty joins or a day of rounds: seconds when the machine is idle, and it may not be. */
const TIMEOUT_MS = 120_000;

let resident: ScriptedResident;
let joiner: LoopbackJoiner;
let now: number;
/** What `setTimeout` of resyncs waits for: virtual time. */
let timers: { readonly dueTs: number; readonly run: () => void }[];

beforeEach(async () => {
  now = ROOM_NOW;
  timers = [];
  resident = await startScriptedResident(['hs1', 'hs3']);
  joiner = await LoopbackJoiner.start(resident, { clock: () => now });
});
afterEach(async () => {
  vi.restoreAllMocks();
  await joiner.close();
  await resident.close();
});

/** Runs `task` with its time-outs of a round and more in virtual time; those of the network stay real. */
function inVirtualTime<T>(task: () => T): T {
  const real = globalThis.setTimeout;
  const spy = vi.spyOn(globalThis, 'setTimeout').mockImplementation(((run: () => void, ms = 0) => {
    const timer = real(() => undefined, 0);
    timers.push({ dueTs: now + ms, run });
    return timer;
  }) as typeof setTimeout);
  try {
    return task();
  } finally {
    spy.mockRestore();
  }
}

/** Resyncs whose own timers are virtual: they are set while it starts, resumes or fails. */
class VirtualResyncs extends Resyncs {
  override resumeAll(): void {
    inVirtualTime(() => super.resumeAll());
  }
}

/** Moves time to the next timer and runs it. */
function toNextTimer(): number {
  timers.sort((a, b) => a.dueTs - b.dueTs);
  const next = timers.shift();
  if (next === undefined) throw new Error('nothing waits');
  now = Math.max(now, next.dueTs);
  next.run();
  return next.dueTs;
}

function makeRoom(name: string): ScriptedRoom {
  const room = new ScriptedRoom(name);
  for (const user of ['@carol:hs3', '@dave:hs3']) room.member(user, 'join');
  resident.rooms.push(room);
  return room;
}

describe('a room whose servers all fail for a day', { timeout: TIMEOUT_MS }, () => {
  it('stays usable, is tried as the back-off says, says why, and completes when one comes back', async () => {
    const room = makeRoom('day');
    await joiner.join(room, 'hs1');
    resident.script = ({ endpoint }) => (endpoint === 'state_ids' ? answers('down for repairs', 503) : undefined);
    const tries: number[] = [];
    let roundEnded: (complete: boolean) => void = () => undefined;
    const round = () =>
      new Promise<boolean>((resolve) => {
        roundEnded = resolve;
      });
    // A failed round sets its timer right after it has told so.
    const resyncs = new Resyncs(
      joiner.server,
      () => roundEnded(true),
      () => {
        mock = vi.spyOn(globalThis, 'setTimeout').mockImplementation(((run: () => void, ms = 0) => {
          timers.push({ dueTs: now + ms, run });
          mock?.mockRestore();
          roundEnded(false);
          return 0;
        }) as never);
      },
    );
    let mock: { mockRestore(): void } | undefined;
    let ended = round();
    resyncs.start(room.roomId);
    tries.push(now);
    expect(await ended).toBe(false);
    while (now < ROOM_NOW + DAY_MS) {
      // The round that failed has told so before it is gone.
      await nextTurn();
      ended = round();
      tries.push(toNextTimer());
      expect(await ended).toBe(false);
      const report = resyncReport(joiner.server, room.roomId);
      expect(report).toMatchObject({ residency: 'partial-state', stage_status: 'failed', attempts: tries.length });
      expect(report.last_failure).toMatch(/^hs1: answered 503: down for repairs; hs3: answered 503: down for repairs$/);
      await joiner.say(room, `still here after ${now - ROOM_NOW} ms`);
    }
    // random() is 0.5: the waits are the steps themselves, doubling up to the longest.
    const { firstMs, maxMs, factor } = RESYNC_BACK_OFF;
    const waits = tries.slice(1).map((ts, n) => ts - (tries[n] as number));
    expect(waits).toEqual(waits.map((_, n) => Math.min(maxMs, firstMs * factor ** n)));
    expect(waits.length).toBeGreaterThan(24);
    resident.script = ({ server, endpoint }) =>
      server === 'hs1' && endpoint === 'state_ids' ? answers('down for repairs', 503) : undefined;
    await nextTurn();
    ended = round();
    toNextTimer();
    expect(await ended).toBe(true);
    expect(resyncReport(joiner.server, room.roomId)).toMatchObject({ residency: 'full-state', last_failure: null });
    expect(joiner.members(room)).toEqual(room.members());
    await resyncs.close();
  });
});

describe('the servers of a round', { timeout: TIMEOUT_MS }, () => {
  it('change from round to round until each had its turn, however many names were made up', async () => {
    const room = makeRoom('names');
    await joiner.join(room, 'hs1');
    const { nid } = joiner.room(room);
    const made = Array.from({ length: 100 }, (_, n) => `made-up-${n}.test` as ServerName);
    const row = joiner.row(room);
    if (row === undefined) throw new Error('the room has full state');
    const named = { ...row, servers: [...made, 'hs3' as ServerName] };
    const rounds = Array.from({ length: 13 }, (_, attempts) =>
      serversOfRound(joiner.server, { nid }, { ...named, attempts }),
    );
    for (const servers of rounds) {
      expect(servers[0]).toBe('hs1');
      expect(servers.length).toBe(SERVERS_A_ROUND_MAX);
      expect(new Set(servers).size).toBe(servers.length);
    }
    expect(new Set(rounds.flat())).toEqual(new Set(['hs1', 'hs3', ...made]));
    // And so the room completes although who let us in lies, and names nobody else before the one that is there.
    joiner.store.write((writer) => putPartialState(writer, nid, { ...named, attempts: 11 }));
    resident.script = ({ server }) => (server === 'hs3' ? undefined : answers('no', 500));
    expect(await joiner.resync(room)).toEqual([true]);
    expect(joiner.members(room)).toEqual(room.members());
  });
});

describe('twenty rooms at once', { timeout: TIMEOUT_MS }, () => {
  it('run a few at a time, first come first served, and a room that fails does not hold the others up', async () => {
    const rooms = Array.from({ length: 20 }, (_, n) => makeRoom(`many${n}`));
    for (const room of rooms) await joiner.join(room, 'hs1');
    const bad = rooms[4] as ScriptedRoom;
    const running = new Set<string>();
    const order: string[] = [];
    let most = 0;
    resident.script = ({ endpoint, uri }) => {
      const about = rooms.find(({ roomId }) => decodeURIComponent(uri).includes(`/${roomId}`));
      if (about === undefined || endpoint !== 'state_ids') return undefined;
      if (!order.includes(about.roomId)) order.push(about.roomId);
      running.add(about.roomId);
      most = Math.max(most, running.size);
      return about === bad ? answers('no', 500) : undefined;
    };
    const ended: string[] = [];
    let resyncs: Resyncs | undefined;
    await new Promise<void>((resolve) => {
      const end = (nid: number) => {
        const room = rooms.find((one) => joiner.room(one).nid === nid) as ScriptedRoom;
        running.delete(room.roomId);
        ended.push(room.roomId);
        if (ended.length === rooms.length) resolve();
      };
      resyncs = new Resyncs(joiner.server, end, end);
      for (const { roomId } of rooms) resyncs.start(roomId);
    });
    await resyncs?.close();
    expect(most).toBe(RESYNCS_AT_ONCE_MAX);
    expect(order).toEqual(rooms.map(({ roomId }) => roomId));
    for (const [n, { roomId }] of rooms.entries()) {
      // Nobody is overtaken by more than those that run beside him.
      expect(Math.abs(ended.indexOf(roomId) - n), roomId).toBeLessThanOrEqual(RESYNCS_AT_ONCE_MAX);
    }
    for (const room of rooms) {
      if (room !== bad) expect(joiner.members(room)).toEqual(room.members());
    }
    expect(joiner.row(bad)?.lastFailure).toMatch(/answered 500/);
  });

  it('are staggered after a restart, and one that backs off keeps its time', async () => {
    const rooms = Array.from({ length: 20 }, (_, n) => makeRoom(`again${n}`));
    for (const room of rooms) await joiner.join(room, 'hs1');
    const late = rooms[7] as ScriptedRoom;
    const row = joiner.row(late);
    if (row === undefined) throw new Error('the room has full state');
    const { nid } = joiner.room(late);
    const dueTs = ROOM_NOW + HOUR_MS;
    joiner.store.write((writer) => putPartialState(writer, nid, { ...row, attempts: 3, nextTryTs: dueTs }));
    const completed: number[] = [];
    const resyncs = new VirtualResyncs(joiner.server, (room) => completed.push(room));
    resident.asked.length = 0;
    resyncs.resumeAll();
    await nextTurn();
    expect(resident.asked).toEqual([]);
    const due = timers.map((timer) => timer.dueTs - ROOM_NOW).sort((a, b) => a - b);
    expect(due.at(-1)).toBe(HOUR_MS);
    const early = due.slice(0, -1);
    expect(new Set(early).size).toBe(19);
    expect(Math.max(...early)).toBeLessThanOrEqual(10_000);
    while (timers.length > 1) toNextTimer();
    await vi.waitFor(() => expect(completed.length).toBe(19), { timeout: TIMEOUT_MS });
    expect(joiner.room(late).residency).toBe('partial-state');
    await resyncs.close();
  });
});
