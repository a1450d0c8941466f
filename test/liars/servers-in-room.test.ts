import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { JsonObject } from '../../src/kernel/matrix/json.js';
import { SERVERS_IN_ROOM_MAX } from '../../src/room/join/ask-to-join.js';
import type { ScriptedResident } from '../support/scripted-resident.js';
import { altered, answers, neverEnds, startScriptedResident } from '../support/scripted-resident.js';
import { ScriptedRoom } from '../support/scripted-room.js';
import { LoopbackJoiner, RSS_GROWTH_MAX } from './loopback-joiner.js';

/** Where a list of 21 MB, or a million refusals, is made by this process too. */
const LARGE_GROWTH_MAX = 400 * 1024 * 1024;

let resident: ScriptedResident;
let joiner: LoopbackJoiner | undefined;
let room: ScriptedRoom;
let honest: ScriptedRoom;

beforeEach(async () => {
  resident = await startScriptedResident(['hs1', 'hs3', '127.0.0.1', '*.test']);
  [room, honest] = ['named', 'honest'].map((name) => {
    const made = new ScriptedRoom(name);
    for (const user of ['@carol:hs3', '@dave:hs3']) made.member(user, 'join');
    resident.rooms.push(made);
    return made;
  }) as [ScriptedRoom, ScriptedRoom];
});
afterEach(async () => {
  await joiner?.close();
  joiner = undefined;
  await resident.close();
});

/** Joins the room through these servers, beside the honest one. */
function joinBeside(by: LoopbackJoiner, via: readonly string[], growthMax = RSS_GROWTH_MAX): Promise<void> {
  return by.beside(honest, () => by.join(room, ...via), growthMax);
}

/** hs1 names these servers. */
function name(servers: readonly unknown[]): void {
  resident.script = ({ server, endpoint, uri }) =>
    server === 'hs1' && endpoint === 'send_join' && decodeURIComponent(uri).includes(room.roomId)
      ? altered((answer) => ({ ...answer, servers_in_room: servers }) as JsonObject)
      : undefined;
}

describe('servers_in_room', { timeout: 120_000 }, () => {
  it('with 100,000 names is cut, with bounded memory, while an honest room is joined beside', async () => {
    joiner = await LoopbackJoiner.start(resident);
    name(Array.from({ length: 100_000 }, (_, n) => `${'n'.repeat(200)}${n}.test`));
    await joinBeside(joiner, ['hs1'], LARGE_GROWTH_MAX);
    const servers = joiner.row(room)?.servers ?? [];
    // The resident comes on top.
    expect(servers.length).toBe(SERVERS_IN_ROOM_MAX);
    expect(servers).toContain('hs1');
    expect(joiner.row(honest)?.servers.toSorted()).toEqual(['hs1', 'hs3']);
    expect(await joiner.resync(room, honest)).toEqual([true, true]);
    expect(joiner.members(room)).toEqual(room.members());
  });

  it('with our own name, the same name again and what is no name: only others count, once each', async () => {
    joiner = await LoopbackJoiner.start(resident);
    name(['hs2', 'hs3', 'hs3', 'no name', '', 'a/b', 'x'.repeat(300), 'hs1', '[::1', 'hs3:99999999']);
    await joinBeside(joiner, ['hs1']);
    expect(joiner.row(room)?.servers.toSorted()).toEqual(['hs1', 'hs3']);
    resident.asked.length = 0;
    expect(await joiner.resync(room)).toEqual([true]);
    expect(resident.asked.filter((line) => line.startsWith('hs2'))).toEqual([]);
  });

  it.each<[string, readonly unknown[]]>([
    ['nothing but our name', ['hs2']],
    ['objects', [{ server: 'hs3' }]],
  ])('with %s leaves the one that let us in', async (_what, servers) => {
    joiner = await LoopbackJoiner.start(resident);
    name(servers);
    await joinBeside(joiner, ['hs1', 'hs3']);
    expect(joiner.row(room)?.servers).toContain(joiner.row(room)?.joinedVia);
    expect(joiner.row(room)?.servers).not.toContain('hs2');
  });

  it.each<[string, unknown]>([
    ['numbers', [1, 2]],
    ['a string', 'hs3'],
    ['nothing', []],
  ])('that is %s is refused, and the next server is asked', async (_what, servers) => {
    joiner = await LoopbackJoiner.start(resident);
    name(servers as unknown[]);
    await joinBeside(joiner, ['hs1', 'hs3']);
    expect(joiner.row(room)?.joinedVia).toBe('hs3');
  });

  it('with private addresses: none is connected to, unless allow_ranges says so', async () => {
    const { address, port } = resident.stub;
    const refused = [
      `127.0.0.2:${port}`,
      `10.0.0.1:${port}`,
      `[::1]:${port}`,
      `[fd00::1]:${port}`,
      `169.254.169.254:${port}`,
    ];
    const addresses = [...refused, address];
    name(addresses);
    const failures: string[] = [];
    const refusing = await LoopbackJoiner.start(resident, { allowRanges: [], hosts: { hs1: address } });
    try {
      for (const server of addresses) {
        await refusing.join(room, server).catch((error: Error) => failures.push(error.message));
      }
      expect(failures).toEqual(addresses.map(() => expect.stringMatching(/federation\.allow_ranges does not permit/)));
    } finally {
      await refusing.close();
    }
    // With 127.0.0.1 allowed and nothing else, only that one is asked when the one that let us in fails.
    joiner = await LoopbackJoiner.start(resident, { allowRanges: ['127.0.0.1'] });
    await joinBeside(joiner, ['hs1']);
    resident.script = ({ server }) => (server === 'hs1' ? answers('no', 500) : undefined);
    resident.asked.length = 0;
    const warnings: string[] = [];
    joiner.server.log.warn = ({ error }: { error?: string }) => warnings.push(error ?? '');
    expect(await joiner.resync(room)).toEqual([true]);
    expect(resident.asked).toContain(`${address} state_ids`);
    expect(resident.asked.filter((line) => !line.startsWith('hs1') && !line.startsWith(address))).toEqual([]);
    expect(warnings).toEqual([
      expect.stringMatching(/answered 500/),
      ...refused.map(() => expect.stringMatching(/federation\.allow_ranges does not permit/)),
    ]);
  });

  it('whose events are none, without end, is refused at a limit', async () => {
    joiner = await LoopbackJoiner.start(resident);
    const block = '{},'.repeat(20_000);
    resident.script = ({ server, endpoint, uri }) =>
      server === 'hs1' && endpoint === 'send_join' && decodeURIComponent(uri).includes(room.roomId)
        ? neverEnds('{"state":[', () => block)
        : undefined;
    const by = joiner;
    const failing = () => by.join(room, 'hs1').catch((error: Error) => error.message);
    expect(await by.beside(honest, failing, LARGE_GROWTH_MAX)).toMatch(
      /more than 250000 events in the response are none/,
    );
  });
});
