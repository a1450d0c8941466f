import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { ServerName } from '../../src/kernel/matrix/ids.js';
import type { JsonObject } from '../../src/kernel/matrix/json.js';
import { RemoteError } from '../../src/remote/remote-error.js';
import { serversInRoom } from '../../src/room/distribute-event.js';
import { joinRoom } from '../../src/room/join/join-room.js';
import { loadRoom } from '../../src/store/rooms.js';
import { BOB, HS3_KEY, ROOM, ServedRoom } from '../api/federation/served-room.js';
import { Joiner } from '../partial-state/joiner.js';

const HS1 = 'hs1' as ServerName;
const HS3 = 'hs3' as ServerName;

let resident: ServedRoom;
let joiner: Joiner;

beforeEach(async () => {
  resident = new ServedRoom();
  joiner = new Joiner(resident);
  await resident.createRoom();
  await resident.send('m.room.name', '', { name: 'A room' });
  await resident.join(HS3_KEY, '@carol:hs3');
});

afterEach(async () => {
  await joiner.close();
  await resident.close();
});

function join(candidates: readonly ServerName[], partial: boolean): Promise<void> {
  return joinRoom(joiner.server, { roomId: ROOM, userId: BOB, candidates, profile: {}, partial });
}

/** Lets hs1 answer `send_join` with something else. */
function alterSendJoin(alter: (answer: JsonObject) => unknown): void {
  joiner.intercept = async (server, { path }, real) =>
    server === HS1 && path.includes('/send_join/') ? alter((await real()) as JsonObject) : undefined;
}

describe('joining a room through another server', () => {
  it('brings full state at once where partial state is not asked for', async () => {
    await join([HS1], false);
    expect(joiner.room().residency).toBe('full-state');
    expect(joiner.members()).toEqual([`@alice:hs1 join`, `${BOB} join`, '@carol:hs3 join']);
    expect(joiner.partialRow()).toBeUndefined();
  });

  it('needs a server to join through', async () => {
    await expect(join([], true)).rejects.toMatchObject({ status: 404 });
    await expect(join(['hs2' as ServerName], true)).rejects.toMatchObject({ status: 404 });
  });

  it('is refused with M_FORBIDDEN, and no other server is asked, where the room does not let the user in', async () => {
    await resident.send('m.room.member', BOB, { membership: 'ban' });
    await expect(join([HS1, HS3], true)).rejects.toMatchObject({ status: 403, errcode: 'M_FORBIDDEN' });
    expect(joiner.asked).toEqual(['hs1 make_join']);
    expect(loadRoom(joiner.store, ROOM)).toBeUndefined();
  });

  it.each<[string, (answer: JsonObject) => unknown]>([
    ['no JSON', () => '<html>'],
    ['an empty object', () => ({})],
    ['no state', (answer) => ({ ...answer, state: [] })],
    ['no auth chain', (answer) => ({ ...answer, auth_chain: [], state: [] })],
    ['members_omitted that is no boolean', (answer) => ({ ...answer, members_omitted: 'yes' })],
    ['omitted members and no servers in the room', (answer) => ({ ...answer, servers_in_room: [] })],
    ['an answer that is cut', (answer) => JSON.stringify(answer).slice(0, -10)],
  ])('goes on with the next server when send_join answers %s', async (_what, alter) => {
    alterSendJoin(alter);
    await join([HS1, HS3], true);
    expect(joiner.asked.filter((line) => line.endsWith('send_join'))).toEqual(['hs1 send_join', 'hs3 send_join']);
    expect(joiner.room().residency).toBe('partial-state');
    expect(joiner.partialRow()?.joinedVia).toBe('hs3');
  });

  it('tells the server that let us in before all others', async () => {
    alterSendJoin((answer) => ({ ...answer, servers_in_room: ['a.test', 'hs1', 'b.test'] }));
    await join([HS1], true);
    const { server } = joiner;
    expect([...serversInRoom(server.store, joiner.room(), server.serverName)]).toEqual(['hs1', 'a.test', 'b.test']);
  });

  it('leaves no room behind when every server fails', async () => {
    alterSendJoin(() => '<html>');
    await expect(join([HS1], true)).rejects.toMatchObject({ status: 502 });
    expect(loadRoom(joiner.store, ROOM)).toBeUndefined();
  });

  it.each([404, 405])('uses send_join v1 where v2 is an unknown endpoint, answered with %i', async (status) => {
    const paths: string[] = [];
    joiner.intercept = (server, { path }) => {
      if (path.includes('/send_join/')) paths.push(path.split('/').slice(3, 5).join('/'));
      if (!path.includes('/v2/')) return undefined;
      throw new RemoteError('refused', server, 'unknown', { status, errcode: 'M_UNRECOGNIZED' });
    };
    await join([HS1], true);
    expect(paths).toEqual(['v2/send_join', 'v1/send_join']);
    expect([joiner.room().residency, joiner.members()]).toEqual([
      'full-state',
      [`@alice:hs1 join`, `${BOB} join`, '@carol:hs3 join'],
    ]);
  });

  it.each([
    [404, 'M_NOT_FOUND'],
    [500, 'M_UNRECOGNIZED'],
  ])('goes on with the next server, not with v1, where v2 answers %i %s', async (status, errcode) => {
    const asked: string[] = [];
    joiner.intercept = (server, { path }) => {
      if (path.includes('/send_join/')) asked.push(`${server} ${path.split('/')[3]}`);
      if (server !== HS1 || !path.includes('/send_join/')) return undefined;
      throw new RemoteError('refused', server, 'no', { status, errcode });
    };
    await join([HS1, HS3], true);
    expect(asked).toEqual(['hs1 v2', 'hs3 v2']);
  });

  it('does not take a state event whose signature is wrong', async () => {
    alterSendJoin((answer) => ({
      ...answer,
      state: (answer.state as JsonObject[]).map((event) =>
        event.type === 'm.room.name' ? { ...event, sender: '@carol:hs3' } : event,
      ),
    }));
    await join([HS1], true);
    expect(joiner.server.progressOf(ROOM).droppedEvents).toBeGreaterThan(0);
  });
});
