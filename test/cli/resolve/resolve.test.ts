/** `joinery resolve`, through the real command: what wins, what it counts, and what it says of wrong files. */

import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import { signedRoom } from '../../../bench/signed-room.js';
import { joinery } from '../run-joinery.js';
import { ALICE, BOB, CAROL, member, room, type Story, type StoryEvent, state, topic } from '../stories.js';

const folder = mkdtempSync(join(tmpdir(), 'joinery-resolve-'));
afterAll(() => rmSync(folder, { recursive: true }));

interface Resolved {
  readonly resolved: readonly { readonly type: string; readonly state_key: string; readonly event_id: string }[];
  readonly conflicted: number;
  readonly auth_difference: number;
  readonly rejected: readonly { readonly event_id: string; readonly code: string }[];
}

async function resolve(version: string, events: readonly unknown[], stateSets: unknown) {
  const text = JSON.stringify({ events, state_sets: stateSets });
  const { code, out, error } = await joinery(['resolve', '--room-version', version, '-'], text);
  return { code, error, out, answer: (out === '' ? undefined : JSON.parse(out)) as Resolved };
}

function winner(answer: Resolved, type: string, stateKey = ''): string | undefined {
  return answer.resolved.find((entry) => entry.type === type && entry.state_key === stateKey)?.event_id;
}

/** Alice bans Mallory's namesake Bob, while Bob, a moderator, changes the topic. */
function banAgainstTopic(version: string): { story: Story; events: StoryEvent[]; sets: string[][] } {
  const story = room(version);
  const { id } = story;
  const create = version === '12' ? [] : [id('create')];
  const at = (ts: number) => ({ roomId: story.roomId, ts, depth: ts });
  const bobJoins = member(id('join-bob'), BOB, 'join', story.auth, at(1));
  const users = version === '12' ? { [BOB]: 50 } : { [ALICE]: 100, [BOB]: 50 };
  const alice = [...create, id('levels'), id('join-alice')];
  const levels = state(id('levels-2'), ALICE, 'm.room.power_levels', { users }, alice, at(2));
  const now = (own: string) => [...create, id('levels-2'), id(own)];
  const ban = member(id('ban'), ALICE, 'ban', [...now('join-alice'), id('join-bob')], at(4), BOB);
  const newTopic = topic(id('topic'), BOB, now('join-bob'), at(3));
  const shared = ['create', 'join-alice', 'rules', 'levels-2'].map(id);
  return {
    story,
    events: [...story.events, bobJoins, levels, ban, newTopic],
    sets: [
      [...shared, id('ban')],
      [...shared, id('join-bob'), id('topic')],
    ],
  };
}

describe('joinery resolve', () => {
  it.each(['2', '6', '10', '11', '12'])(
    'lets a ban win over what the banned user did, in version %s',
    async (version) => {
      const { story, events, sets } = banAgainstTopic(version);
      const { code, answer, error } = await resolve(version, events, sets);
      expect(error).toBe('');
      expect(winner(answer, 'm.room.member', BOB)).toBe(story.id('ban'));
      expect(winner(answer, 'm.room.topic')).toBeUndefined();
      expect(answer.rejected).toContainEqual({ event_id: story.id('topic'), code: 'sender-not-joined' });
      expect(answer.conflicted).toBe(3);
      expect(code).toBe(1);
    },
  );

  it('prints the same whatever the order of events and sets', async () => {
    const { events, sets } = banAgainstTopic('11');
    const { out } = await resolve('11', events, sets);
    const other = await resolve(
      '11',
      [...events].reverse(),
      [...sets].reverse().map((set) => [...set].reverse()),
    );
    expect(other.out).toBe(out);
  });

  it('resolves by the algorithm of room version 1', async () => {
    const story = room('1');
    const alice = [story.id('create'), story.id('levels'), story.id('join-alice')];
    const older = topic(story.id('older'), ALICE, alice, { roomId: story.roomId, depth: 5 });
    const newer = topic(story.id('newer'), ALICE, alice, { roomId: story.roomId, depth: 9 });
    const shared = story.events.map(({ event_id }) => event_id);
    const { code, answer } = await resolve(
      '1',
      [...story.events, older, newer],
      [
        [...shared, older.event_id],
        [...shared, newer.event_id],
      ],
    );
    expect(winner(answer, 'm.room.topic')).toBe(newer.event_id);
    expect(answer).toMatchObject({ conflicted: 2, auth_difference: 0, rejected: [] });
    expect(code).toBe(0);
  });

  it('exits 0 where nothing is refused, and counts conflicted events and auth difference', async () => {
    const story = room('11');
    const bob = member('$join-bob', BOB, 'join', story.auth, { roomId: story.roomId, ts: 1 });
    const renamed = member('$bob-2', BOB, 'join', [...story.auth, '$join-bob'], { roomId: story.roomId, ts: 2 });
    const carol = member('$join-carol', CAROL, 'join', story.auth, { roomId: story.roomId, ts: 1 });
    const shared = story.events.map(({ event_id }) => event_id);
    const { code, answer } = await resolve(
      '11',
      [...story.events, bob, renamed, carol],
      [
        [...shared, '$bob-2'],
        [...shared, '$join-carol'],
      ],
    );
    expect(code).toBe(0);
    expect(answer).toMatchObject({ conflicted: 2, auth_difference: 1, rejected: [] });
    expect(winner(answer, 'm.room.member', BOB)).toBe('$bob-2');
    expect(winner(answer, 'm.room.member', CAROL)).toBe('$join-carol');
  });

  it('gives equal sets back, sorted by type, then state key, by code points', async () => {
    const story = room('11');
    const alice = ['$create', '$levels', '$join-alice'];
    const keys = ['b', 'a', '\u{ff5e}', '\u{1f600}', 'B', ''];
    const others = keys.map((key, i) => ({
      ...state(`$k${i}`, ALICE, 'x.test', {}, alice, { roomId: story.roomId }),
      state_key: key,
    }));
    const ids = [...story.events, ...others].map(({ event_id }) => event_id);
    const { code, answer } = await resolve('11', [...story.events, ...others], [ids, [...ids].reverse()]);
    expect(code).toBe(0);
    expect(answer.resolved.map(({ type }) => type).filter((type, i, all) => type !== all[i - 1])).toEqual([
      'm.room.create',
      'm.room.join_rules',
      'm.room.member',
      'm.room.power_levels',
      'x.test',
    ]);
    expect(answer.resolved.filter(({ type }) => type === 'x.test').map(({ state_key }) => state_key)).toEqual([
      '',
      'B',
      'a',
      'b',
      '\u{ff5e}',
      '\u{1f600}',
    ]);
    expect(answer).toMatchObject({ conflicted: 0, auth_difference: 0, rejected: [] });
  });

  it('takes no sets, and one set, as their own resolution', async () => {
    const { events } = room('11');
    expect((await resolve('11', events, [])).answer.resolved).toEqual([]);
    expect((await resolve('11', events, [['$create']])).answer.resolved).toEqual([
      { type: 'm.room.create', state_key: '', event_id: '$create' },
    ]);
  });

  it('names an event of the auth difference that is not among the events', async () => {
    const story = room('11');
    const lost = member('$bob', BOB, 'join', [...story.auth, '$gone'], { roomId: story.roomId });
    const shared = story.events.map(({ event_id }) => event_id);
    const { code, answer } = await resolve('11', [...story.events, lost], [shared, [...shared, '$bob']]);
    expect(code).toBe(1);
    expect(answer.rejected).toEqual([{ event_id: '$gone', code: 'event-missing' }]);
  });

  it('computes IDs of events without event_id', async () => {
    const { events } = signedRoom(5, 2);
    const ids = events.map(({ eventId }) => eventId);
    const { code, answer } = await resolve(
      '11',
      events.map(({ json }) => json),
      [ids.slice(0, 5), ids],
    );
    expect(code).toBe(0);
    expect(answer.resolved.map(({ event_id }) => event_id).sort()).toEqual([...ids].sort());
  });
});

describe('joinery resolve and wrong use', () => {
  const { events } = room('11');

  it('prints its help with an example', async () => {
    const { code, out } = await joinery(['resolve', '--help']);
    expect(code).toBe(0);
    expect(out).toContain('Example:\n  joinery resolve --room-version 11 forks.json');
  });

  it.each([
    [['resolve', 'x'], 'resolve needs --room-version V'],
    [['resolve', '--room-version', '13', 'y'], 'room version "13" is not known'],
    [['resolve', '--room-version', '11'], 'resolve needs FILE, or - for standard input'],
    [['resolve', '--room-version', '11', 'x', 'y'], 'resolve takes one FILE, not 2'],
    [['resolve', '--room-version', '11', '--sets', 'y'], "Unknown option '--sets'"],
  ])('answers %j with exit code 2, the reason and its help', async (argv, reason) => {
    const { code, out, error } = await joinery(argv);
    expect({ code, out }).toEqual({ code: 2, out: '' });
    expect(error.startsWith(`joinery: ${reason}`)).toBe(true);
    expect(error).toContain('joinery resolve --room-version V FILE');
  });

  it.each<[string, readonly unknown[], unknown, string]>([
    ['an ID that is no event', events, [['$create', '$gone']], 'state_sets[0][1] ($gone): is not among the events'],
    [
      'an event that is no state',
      [...events, { ...topic('$message', ALICE, []), state_key: undefined }],
      [[], ['$message']],
      'state_sets[1][0] ($message): is not a state event',
    ],
    [
      'two events of one key in a set',
      [...events, topic('$t1', ALICE, []), topic('$t2', ALICE, [])],
      [['$t1', '$t2']],
      'state_sets[0][1] ($t2): has the type and state key of $t1, which is in the same set',
    ],
    [
      'a malformed event',
      [...events, { ...topic('$t', ALICE, []), sender: 5 }],
      [],
      'events[4] ($t, line 1): bad-field: sender is not a string',
    ],
    [
      'two events with one ID',
      [...events, topic('$levels', ALICE, [])],
      [],
      'events[4] ($levels, line 1): events[2] ($levels, line 1) has this ID already',
    ],
    [
      'an event of another room',
      [...events, topic('$t', ALICE, [], { roomId: '!other:a.test' })],
      [],
      'events[4] ($t, line 1): belongs to room !other:a.test, the first event to !room:a.test',
    ],
    ['no state sets', events, undefined, 'has no "state_sets"'],
  ])('refuses %s, with its name', async (_, given, sets, reason) => {
    const { code, out, error } = await resolve('11', given, sets);
    expect({ code, out, error }).toEqual({ code: 2, out: '', error: `joinery: standard input: ${reason}\n` });
  });

  it.each([
    ['{"events":[],"state_sets":{}}', '1:27: expected a list'],
    ['{"events":[],"state_sets":["$a"]}', '1:28: expected a list'],
    ['{"events":[],"state_sets":[[5]]}', '1:29: expected a string'],
    ['{"events":[],\n"state_sets":[[]}', '2:17: expected a comma or ]'],
  ])('refuses the document %s with the place', async (text, error) => {
    const file = join(folder, 'wrong.json');
    writeFileSync(file, text);
    expect(await joinery(['resolve', '--room-version', '11', file])).toEqual({
      code: 2,
      out: '',
      error: `joinery: ${file}:${error}\n`,
    });
  });

  it('answers a file that is missing with exit code 2 and its name', async () => {
    const missing = join(folder, 'missing.json');
    expect(await joinery(['resolve', '--room-version', '11', missing])).toMatchObject({
      code: 2,
      error: `joinery: ${missing}: cannot be read: no such file\n`,
    });
  });
});
