/** A real `joinery serve` on a disk that is full for a while: what its users are told, and that nothing answered is lost. */

import { type ChildProcess, spawn } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { afterAll, describe, expect, it } from 'vitest';
import { generate } from '../../src/cli/generate.js';
import type { JsonObject } from '../../src/kernel/matrix/json.js';
import { smallDisk, toldDisk } from '../store/small-disk.js';
import { testAuthority } from '../support/federation-stub.js';
import { answers, startScriptedResident } from '../support/scripted-resident.js';
import { ScriptedRoom } from '../support/scripted-room.js';

const JOINERY = fileURLToPath(new URL('../../dist/src/main.js', import.meta.url));
const TEST_MS_MAX = 240_000;
const POLL_MS = 100;
const FULL = { errcode: 'M_UNKNOWN', error: expect.stringMatching(/^This server cannot write to its disk now/) };

/** A real one where this process may mount it, else one that is told. */
const disk = smallDisk(32) ?? toldDisk();
let child: ChildProcess | undefined;
afterAll(() => {
  child?.kill('SIGKILL');
  disk.unmount();
});

/** A room whose state needs new pages of the store, at the join and at the resync. */
function largeRoom(): ScriptedRoom {
  const room = new ScriptedRoom('disk');
  for (let n = 0; n < 20; n++) room.state('org.example.fact', `${n}`, { text: 'x'.repeat(40_000) });
  for (let n = 0; n < 40; n++) {
    const user = `@user${n}:hs3`;
    room.state('m.room.member', user, { membership: 'join', reason: 'x'.repeat(20_000) }, user);
  }
  room.say('last');
  return room;
}

describe(`joinery serve on a disk that is full: ${disk.kind}`, { timeout: TEST_MS_MAX }, () => {
  it('tells its users, lives, and goes on where it was when there is room again', async () => {
    const resident = await startScriptedResident(['hs1', 'hs3']);
    const room = largeRoom();
    resident.rooms.push(room);
    const { address } = resident.stub;
    const files = await generate({
      serverName: 'hs2',
      dir: join(disk.folder, 'hs2'),
      clientPort: 0,
      federationPort: 0,
      threads: 1,
      federation: { hosts: { hs1: address, hs3: address }, allowRanges: ['127.0.0.0/8'] },
      ca: await testAuthority(),
    });
    child = spawn(process.execPath, [JOINERY, 'serve', '--config', files.config], {
      stdio: ['ignore', 'pipe', 'ignore'],
      env: { ...process.env, ...disk.env },
    });
    const ended = new Promise((resolve) => child?.once('exit', (code, signal) => resolve(signal ?? code)));
    const ready = await new Promise<string>((resolve) => child?.stdout?.once('data', (text) => resolve(String(text))));
    const url = / client=(\S+)/.exec(ready)?.[1] ?? '';
    let token = '';
    const ask = async (method: string, path: string, body?: JsonObject, bearer = token) => {
      const answer = await fetch(`${url}${path}`, {
        method,
        headers: { authorization: `Bearer ${bearer}` },
        ...(body === undefined ? {} : { body: JSON.stringify(body) }),
      });
      return {
        status: answer.status,
        wait: answer.headers.get('retry-after'),
        json: (await answer.json()) as JsonObject,
      };
    };
    const admin = readFileSync(files.adminToken, 'utf8').trim();
    const rooms = `/_matrix/client/v3/rooms/${encodeURIComponent(room.roomId)}`;
    const resyncPath = `/_joinery/admin/v1/rooms/${encodeURIComponent(room.roomId)}/resync`;
    const report = async () => (await ask('GET', resyncPath, undefined, admin)).json;
    const until = async (what: (found: JsonObject) => boolean): Promise<JsonObject> => {
      for (;;) {
        const found = await report();
        if (what(found)) return found;
        await sleep(POLL_MS);
      }
    };
    const say = (body: string) => ask('PUT', `${rooms}/send/m.room.message/${body.slice(0, 9)}`, { body });

    const account = { auth: { type: 'm.login.dummy' }, username: 'bob', password: 'only for this run' };
    token = String((await ask('POST', '/_matrix/client/v3/register', account)).json.access_token);
    const tryToJoin = () => ask('POST', `/_matrix/client/v3/join/${encodeURIComponent(room.roomId)}?via=hs1`, {});

    disk.fill(0);
    expect(await tryToJoin()).toMatchObject({ status: 503, wait: expect.stringMatching(/^\d+$/), json: FULL });
    expect(await ask('GET', '/_matrix/client/v3/account/whoami')).toMatchObject({ status: 200 });
    expect((await ask('GET', '/_matrix/client/v3/joined_rooms')).json).toEqual({ joined_rooms: [] });

    disk.free();
    let release: () => void = () => undefined;
    const full = new Promise<void>((resolve) => {
      release = resolve;
    });
    resident.script = ({ endpoint }) =>
      endpoint === 'state'
        ? (response, honest) => void full.then(() => answers(JSON.stringify(honest))(response, honest))
        : undefined;
    expect(await tryToJoin()).toMatchObject({ status: 200 });
    const first = await say('one');
    expect(first.status).toBe(200);

    disk.fill(0);
    expect(await say(`two${'x'.repeat(50_000)}`)).toMatchObject({ status: 503, json: FULL });
    release();
    const failed = await until(({ last_failure: failure }) => failure !== null);
    expect(failed).toMatchObject({ residency: 'partial-state', stage_status: 'failed' });
    expect(failed.last_failure).toMatch(/cannot write to .*; \d+ bytes are free on its disk/);

    disk.free();
    expect(await ask('POST', resyncPath, {}, admin)).toMatchObject({ status: 200 });
    await until(({ residency }) => residency === 'full-state');
    const members = (await ask('GET', `${rooms}/members`)).json.chunk as JsonObject[];
    expect(members.map(({ state_key: user }) => user).toSorted()).toEqual(
      room.members().map((member) => member.split(' ')[0]),
    );
    const second = await say('two');
    expect(second.status).toBe(200);
    const sync = (await ask('GET', '/_matrix/client/v3/sync?timeout=0')).json as {
      rooms: { join: Record<string, { timeline: { events: JsonObject[] } }> };
    };
    const seen = sync.rooms.join[room.roomId]?.timeline.events.map(({ event_id: id }) => id);
    expect(seen).toEqual(expect.arrayContaining([first, second].map(({ json }) => json.event_id as string)));
    child.kill('SIGTERM');
    expect(await ended).toBe(0);
    await resident.close();
  });
});
