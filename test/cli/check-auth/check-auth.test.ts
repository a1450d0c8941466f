/** `joinery check-auth`, through the real command: verdicts, how rejections are handed on, and what it says of wrong files. */

import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import { signedRoom } from '../../../bench/signed-room.js';
import { joinery, linesOf } from '../run-joinery.js';
import { ALICE, BOB, member, room, type StoryEvent, topic } from '../stories.js';
import { signedEvent } from '../verify/signed-files.js';

const folder = mkdtempSync(join(tmpdir(), 'joinery-check-auth-'));
afterAll(() => rmSync(folder, { recursive: true }));

async function check(events: readonly unknown[], version = '11') {
  const { code, out, error } = await joinery(
    ['check-auth', '--room-version', version, '-'],
    JSON.stringify({ events }),
  );
  return { code, error, lines: linesOf(out) };
}

/** Codes by event ID. */
async function codesOf(events: readonly StoryEvent[], version = '11'): Promise<Record<string, unknown>> {
  const { lines } = await check(events, version);
  expect(lines).toHaveLength(events.length);
  return Object.fromEntries(lines.map(({ event_id, code }) => [event_id, code]));
}

const { events: start, auth } = room('11');

describe('joinery check-auth', () => {
  it('prints a line for each event, in their order, and exits 0 when all are allowed', async () => {
    const { code, lines, error } = await check(start);
    expect({ code, error }).toEqual({ code: 0, error: '' });
    expect(lines).toEqual(
      start.map(({ event_id }) => ({
        event_id,
        verdict: 'allowed',
        code: 'ok',
        reason: 'allowed by its auth events',
      })),
    );
  });

  it('rejects with the code and the words of the rule, and exits 1', async () => {
    const { code, lines } = await check([...start, topic('$bad', BOB, ['$create', '$levels'])]);
    expect(code).toBe(1);
    expect(lines.at(-1)).toEqual({
      event_id: '$bad',
      verdict: 'rejected',
      code: 'sender-not-joined',
      reason: 'rule 6: the sender is not joined to the room',
    });
  });

  it('takes events in any order', async () => {
    const events = [...start, member('$join-bob', BOB, 'join', auth)];
    const { code, lines } = await check([...events].reverse());
    expect(code).toBe(0);
    expect(lines.map(({ event_id }) => event_id)).toEqual(events.map(({ event_id }) => event_id).reverse());
  });

  it('reads a file, and steps over members that it does not know', async () => {
    const file = join(folder, 'room.json');
    writeFileSync(file, JSON.stringify({ about: { x: [1, 2] }, events: start, state_sets: [['$create']] }));
    expect((await joinery(['check-auth', '--room-version', '11', file])).code).toBe(0);
  });

  it('rejects an event whose auth event is not among the events, and names that', async () => {
    const { lines } = await check([...start, topic('$t', ALICE, [...auth, '$gone'])]);
    expect(lines.at(-1)).toMatchObject({ code: 'auth-event-missing', reason: 'not among the events: $gone' });
  });

  it('hands rejections on along auth_events, whatever the reason', async () => {
    const rejectedJoin = member('$bad-join', BOB, 'join', ['$create', '$levels', '$join-alice']);
    const withMissing = member('$lost', BOB, 'join', [...auth, '$gone']);
    const malformed = { event_id: '$broken', type: 'm.room.member' };
    const events = [
      ...start,
      rejectedJoin,
      member('$after', BOB, 'join', [...auth, '$bad-join']),
      member('$after-after', BOB, 'join', [...auth, '$after']),
      withMissing,
      topic('$after-lost', BOB, ['$create', '$levels', '$lost']),
      malformed as StoryEvent,
      member('$after-broken', BOB, 'join', [...auth, '$broken']),
    ];
    const codes = await codesOf(events);
    expect(codes).toMatchObject({
      '$bad-join': 'auth-event-not-selected',
      $after: 'auth-event-rejected',
      '$after-after': 'auth-event-rejected',
      $lost: 'auth-event-missing',
      '$after-lost': 'auth-event-rejected',
      $broken: 'bad-field',
      '$after-broken': 'auth-event-rejected',
    });
    const { lines } = await check(events);
    expect(lines.find(({ event_id }) => event_id === '$after')?.reason).toBe(
      'rule 3.3: an auth event was itself rejected: $bad-join',
    );
  });

  it('rejects an event that lists two auth events of one kind, or one twice', async () => {
    const other = member('$join-alice-2', ALICE, 'join', auth);
    const codes = await codesOf([
      ...start,
      other,
      topic('$two', ALICE, ['$create', '$levels', '$join-alice', '$join-alice-2']),
      topic('$twice', ALICE, ['$create', '$levels', '$join-alice', '$join-alice']),
    ]);
    expect(codes).toMatchObject({ $two: 'auth-event-duplicate', $twice: 'auth-event-duplicate' });
  });

  it('lets the first of two events with one ID stand', async () => {
    const { code, lines } = await check([...start, { ...topic('$levels', ALICE, auth) }]);
    expect(code).toBe(1);
    expect(lines.at(-1)).toMatchObject({ event_id: '$levels', verdict: 'rejected', code: 'event-id-taken' });
    expect(lines.slice(0, -1).every(({ code: each }) => each === 'ok')).toBe(true);
  });

  it('rejects events on a cycle of auth_events, and those that rest on it', async () => {
    const codes = await codesOf([
      ...start,
      member('$x', ALICE, 'join', [...auth.slice(0, 2), '$y']),
      member('$y', ALICE, 'join', [...auth.slice(0, 2), '$x']),
      member('$self', ALICE, 'join', [...auth.slice(0, 2), '$self']),
      topic('$on-it', ALICE, ['$create', '$levels', '$x']),
    ]);
    expect(codes).toMatchObject({
      $x: 'auth-event-cycle',
      $y: 'auth-event-cycle',
      $self: 'auth-event-cycle',
      '$on-it': 'auth-event-cycle',
    });
  });

  it('follows auth chains of 20,000 events', async () => {
    const chain = Array.from({ length: 20_000 }, (_, i) =>
      member(`$m${i}`, ALICE, 'join', ['$create', '$levels', '$rules', i === 0 ? '$join-alice' : `$m${i - 1}`]),
    );
    const { code, lines } = await check([...start, ...chain.reverse()]);
    expect(lines).toHaveLength(start.length + 20_000);
    expect(code).toBe(0);
  });

  it.each(['1', '2', '3', '6', '10', '11', '12'])('judges a story in room version %s', async (version) => {
    const story = room(version);
    const { code, lines } = await check(
      [...story.events, member(story.id('bob'), BOB, 'join', story.auth, story)],
      version,
    );
    expect(lines.map(({ reason }) => reason)).toEqual(lines.map(() => 'allowed by its auth events'));
    expect(code).toBe(0);
  });

  it('computes IDs of events without event_id', async () => {
    const signed = signedRoom(3, 2);
    const { code, lines } = await check(signed.events.map(({ json }) => json));
    expect(code).toBe(0);
    expect(lines.map(({ event_id }) => event_id)).toEqual(signed.events.map(({ eventId }) => eventId));
  });

  it('judges what is left of an event whose stated content hash does not match', async () => {
    const signed = signedRoom(3, 2);
    const events = signed.events.map(({ json }) => json);
    const index = events.findIndex(({ type }) => type === 'm.room.join_rules');
    const changed = events.with(index, { ...events[index], content: { join_rule: 'public', more: 1 } });
    const { code, lines } = await check(changed);
    expect(code).toBe(0);
    expect(lines[index]).toMatchObject({ event_id: signed.events[index]?.eventId, redacted: true });
  });

  it('gives malformed events a line with a format code, and goes on', async () => {
    const { code, lines } = await check([
      ...start,
      5,
      { event_id: 'x' },
      { event_id: '$y', type: 5 },
      topic('$t', ALICE, ['$create', '$levels', '$join-alice']),
    ]);
    expect(code).toBe(1);
    expect(lines.slice(start.length)).toMatchObject([
      { event_id: null, verdict: 'rejected', code: 'not-json' },
      { event_id: null, verdict: 'rejected', code: 'bad-field' },
      { event_id: '$y', code: 'bad-field', reason: `events[${start.length + 2}] ($y, line 1): type is not a string` },
      { event_id: '$t', code: 'ok' },
    ]);
  });

  it('refuses an event_id without a domain in room versions 1 and 2', async () => {
    expect((await check(start, '1')).lines[0]).toMatchObject({ event_id: '$create', code: 'bad-field' });
  });

  it('says that keys stand twice in an event, which JSON.parse would not', async () => {
    const text = JSON.stringify({ events: start }).replace('"depth":0', '"depth":0,"depth":1');
    const { code, out } = await joinery(['check-auth', '--room-version', '11', '-'], text);
    expect(code).toBe(1);
    expect(linesOf(out)[0]).toMatchObject({ event_id: '$create', code: 'duplicate-key' });
  });
});

describe('joinery check-auth in room version 12', () => {
  const story = room('12');

  it('implies the create event that the room ID names', async () => {
    const { code } = await check(story.events, '12');
    expect(code).toBe(0);
    const withoutCreate = await check(story.events.slice(1), '12');
    expect(withoutCreate.lines[0]).toMatchObject({
      code: 'auth-event-missing',
      reason: 'not among the events: $create',
    });
  });

  it('rejects an event that lists the create event', async () => {
    const codes = await codesOf([...story.events, topic('$t', ALICE, ['$create', ...story.auth], story)], '12');
    expect(codes.$t).toBe('auth-event-not-selected');
  });

  it('rejects everything in a room whose create event is rejected', async () => {
    const create = { ...story.events[0], prev_events: ['$levels'] } as StoryEvent;
    const codes = await codesOf([create, ...story.events.slice(1)], '12');
    expect(codes).toMatchObject({ $create: 'create-has-prev-events', '$join-alice': 'create-event-rejected' });
  });

  it('rejects a create event that states a room ID, and one that is no create event', async () => {
    const create = { ...story.events[0], room_id: '!create' } as StoryEvent;
    const codes = await codesOf([create, ...story.events.slice(1)], '12');
    expect(codes.$create).toBe('create-has-room-id');
    const elsewhere = topic('$t', ALICE, ['$levels', '$join-alice'], { roomId: '!join-alice' });
    expect((await codesOf([...story.events, elsewhere], '12')).$t).toBe('auth-event-other-room');
    const alone = member('$m', ALICE, 'join', [], { roomId: '!join-alice' });
    expect((await codesOf([...story.events, alone], '12')).$m).toBe('room-id-not-create-event');
  });

  it('takes the computed ID of the create event as the room ID', async () => {
    const shape = { state_key: '', room_id: undefined as never, content: { room_version: '12' }, depth: 1 };
    const create = signedEvent({ version: '12', event: { ...shape, type: 'm.room.create' } });
    const joined = signedEvent({
      version: '12',
      event: {
        type: 'm.room.member',
        state_key: '@a:a.test',
        room_id: `!${create.eventId.slice(1)}`,
        content: { membership: 'join' },
        prev_events: [create.eventId],
      },
    });
    const { code, lines } = await check([joined.json, create.json], '12');
    expect(lines.map(({ code: each }) => each)).toEqual(['ok', 'ok']);
    expect(code).toBe(0);
  });
});

describe('joinery check-auth and wrong use', () => {
  it('prints its help, whose example works', async () => {
    const { code, out } = await joinery(['check-auth', '--help']);
    expect(code).toBe(0);
    const example = /echo '([^']*)'/.exec(out)?.[1] ?? '';
    const run = await joinery(['check-auth', '--room-version', '11', '-'], example);
    expect(run.code).toBe(0);
    expect(linesOf(run.out).map(({ event_id }) => event_id)).toEqual(['$create', '$join']);
  });

  it.each([
    [['check-auth', 'x'], 'check-auth needs --room-version V'],
    [['check-auth', '--room-version', 'x', 'y'], 'room version "x" is not known'],
    [['check-auth', '--room-version', '11'], 'check-auth needs FILE, or - for standard input'],
    [['check-auth', '--room-version', '11', 'x', 'y'], 'check-auth takes one FILE, not 2'],
    [['check-auth', '--room-version', '11', '--keys', 'x', 'y'], "Unknown option '--keys'"],
  ])('answers %j with exit code 2, the reason and its help', async (argv, reason) => {
    const { code, out, error } = await joinery(argv);
    expect({ code, out }).toEqual({ code: 2, out: '' });
    expect(error.startsWith(`joinery: ${reason}`)).toBe(true);
    expect(error).toContain('joinery check-auth --room-version V FILE');
  });

  it('answers a file that is missing with exit code 2 and its name', async () => {
    const missing = join(folder, 'missing.json');
    expect(await joinery(['check-auth', '--room-version', '11', missing])).toEqual({
      code: 2,
      out: '',
      error: `joinery: ${missing}: cannot be read: no such file\n`,
    });
  });

  it.each<[string, string | Buffer, string]>([
    ['is empty', '', 'standard input:1:1: expected an object, but the document ends'],
    ['is no object', '[]', 'standard input:1:1: expected an object'],
    ['is cut short', '{"events":[\n{"a":1},\n', 'standard input:3:1: expected a value, but the document ends'],
    ['has a wrong comma', '{"events":[\n  {"å":"é",},\n]}', 'standard input:2:12: expected a key in quotes'],
    ['goes on after its end', '{"events":[]}\nx', 'standard input:2:1: something follows the document'],
    ['has events that are no list', '{"events":{}}', 'standard input:1:11: expected a list'],
    ['has its events twice', '{"events":[],"events":[]}', 'standard input:1:14: "events" stands twice'],
    ['has no events', '{"state_sets":[]}', 'standard input: has no "events"'],
    ['is not UTF-8', Buffer.from([0x7b, 0xff, 0x7d]), 'standard input: not UTF-8'],
  ])('answers a document that %s with exit code 2 and the place', async (_, text, error) => {
    expect(await joinery(['check-auth', '--room-version', '11', '-'], text)).toEqual({
      code: 2,
      out: '',
      error: `joinery: ${error}\n`,
    });
  });
});
