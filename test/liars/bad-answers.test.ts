import { randomBytes } from 'node:crypto';
import { setImmediate as nextTurn } from 'node:timers/promises';
import { afterAll, afterEach, beforeAll, describe, expect, it, vi } from 'vitest';
import { IDLE_TIMEOUT_MS } from '../../src/remote/federation-client.js';
import {
  MAKE_JOIN_TIMEOUT_MS,
  STATE_FIRST_BYTE_TIMEOUT_MS,
  STATE_IDLE_TIMEOUT_MS,
} from '../../src/remote/state-requests.js';
import { loadRoom } from '../../src/store/rooms.js';
import type { Act, ScriptedResident } from '../support/scripted-resident.js';
import {
  answers,
  answersJson,
  closesAtOnce,
  closesInTheMiddle,
  compressed,
  drips,
  gzipBomb,
  halfAnAnswer,
  labelled,
  neverEnds,
  stallsInTheMiddle,
  startScriptedResident,
  staysSilent,
} from '../support/scripted-resident.js';
import { ScriptedRoom } from '../support/scripted-room.js';
import { bounded, LoopbackJoiner } from './loopback-joiner.js';

let resident: ScriptedResident;
let joiner: LoopbackJoiner;
beforeAll(async () => {
  resident = await startScriptedResident(['hs1', 'hs3', 'hs4']);
  joiner = await LoopbackJoiner.start(resident);
  joiner.slow.add('hs1');
});
afterAll(async () => {
  await joiner.close();
  await resident.close();
});

let rooms = 0;
/** A room that hs1 and hs3 know, with members of both. */
function makeRoom(): ScriptedRoom {
  const room = new ScriptedRoom(`room${rooms++}`);
  for (const user of ['@carol:hs3', '@dave:hs3', '@erin:hs1']) room.member(user, 'join');
  resident.rooms.push(room);
  return room;
}

const id = () => `"$${randomBytes(32).toString('base64url')}"`;

/** What is wrong, how it goes wrong, and what the refusal says. */
const BAD_ANSWERS: readonly (readonly [what: string, act: Act, refusal: RegExp])[] = [
  ['garbage', answers('\u0000\u0001<not json>'), /not JSON|not a JSON object/],
  ['binary garbage', answers(randomBytes(5000).toString('latin1')), /not JSON|not a JSON object/],
  ['half an answer', halfAnAnswer, /not JSON|ends in the middle/],
  ['nothing', answers(''), /not JSON|ends in the middle/],
  ['JSON that is no object', answersJson([1, 2]), /no event|not a JSON object/],
  ['an object without anything', answersJson({}), /no event|no create event|empty|did not come/],
  [
    'HTML with another content type',
    answers('<html></html>', 200, { 'content-type': 'text/html' }),
    /not JSON|JSON obj/,
  ],
  ['a closed connection', closesAtOnce, /hs1: .*(closed|socket)/i],
  ['a connection that closes in the middle', closesInTheMiddle, /hs1: .*(closed|terminated|socket)/i],
  ['nothing for long', staysSilent, /no answer within 400 ms/],
  ['a beginning and then nothing for long', stallsInTheMiddle, /no bytes for 200 ms/],
  ['white space that drips for ever', drips(40), /did not end within 800 ms/],
  ['a 500 in plain text that is labelled JSON', answers('internal error', 500), /answered 500: internal error/],
  ['a 502 in HTML', answers('<html>bad</html>', 502, { 'content-type': 'text/html' }), /answered 502: <html>/],
  [
    'a 429',
    answersJson({ errcode: 'M_LIMIT_EXCEEDED', error: 'slow down', retry_after_ms: 3_600_000 }, 429),
    /answered 429 M_LIMIT_EXCEEDED/,
  ],
  ['a redirect', answers('', 302, { location: 'https://127.0.0.1/' }), /answered 302/],
  ['gzip', compressed, /content-encoding gzip/],
  ['a gzip bomb', gzipBomb(300, { 'content-encoding': 'gzip' }), /content-encoding gzip/],
  ['a gzip bomb that does not say so', gzipBomb(300, {}), /not JSON|not a JSON object/],
];

/** Endless in other ways: only where an answer may be large. */
const ENDLESS: typeof BAD_ANSWERS = [
  ['white space without end', neverEnds('{', () => ' '.repeat(65_536)), /did not end within 800 ms/],
  ['one string without end', neverEnds('{"x":"', () => 'x'.repeat(65_536)), /did not end within 800 ms/],
  [
    'members without end',
    neverEnds('{"a":1', () => `,${id()}:"${'x'.repeat(500_000)}"`),
    /top-level members|within 800/,
  ],
  ['one member many times', neverEnds('{"a":1', () => ',"a":1'), /stands twice/],
];

/** hs1 answers so for this room. */
function lie(room: ScriptedRoom, endpoint: string, act: Act): void {
  resident.script = ({ server, endpoint: asked, uri }) =>
    server === 'hs1' && asked === endpoint && decodeURIComponent(uri).includes(room.roomId) ? act : undefined;
}

/** Why servers failed, as it happens. */
function listenToFailures(): string[] {
  const failures: string[] = [];
  joiner.server.log.warn = ({ error }: { error?: string }) => failures.push(error ?? '');
  return failures;
}

describe.each(['make_join', 'send_join'])('a server that answers %s with', (endpoint) => {
  const cases = endpoint === 'make_join' ? BAD_ANSWERS : [...BAD_ANSWERS, ...ENDLESS];
  it.each(cases)('%s is refused by name, and the next one is asked', async (_what, act, refusal) => {
    const [room, honest] = [makeRoom(), makeRoom()];
    lie(room, endpoint, act);
    const failures = listenToFailures();
    await joiner.beside(honest, () => joiner.join(room, 'hs1', 'hs3'));
    expect(failures).toEqual([expect.stringMatching(refusal)]);
    expect(joiner.row(room)?.joinedVia).toBe('hs3');
  });
});

describe.each(['state_ids', 'state'])('a server that answers %s with', (endpoint) => {
  it.each([...BAD_ANSWERS, ...ENDLESS])(
    '%s fails with that reason, and the next one completes the room',
    async (...row) => {
      const [, act, refusal] = row;
      const [room, honest] = [makeRoom(), makeRoom()];
      await joiner.join(room, 'hs1');
      await joiner.join(honest, 'hs3');
      const failures = listenToFailures();
      lie(room, endpoint, act);
      resident.asked.length = 0;
      await bounded(async () => expect(await joiner.resync(room, honest)).toEqual([true, true]));
      expect(failures).toEqual([expect.stringMatching(refusal)]);
      expect(resident.asked).toContain('hs3 state_ids');
      expect([joiner.members(room), joiner.members(honest)]).toEqual([room.members(), honest.members()]);
    },
  );
});

it('a server that lies and is the only one leaves no room behind, and says why to the user', async () => {
  const room = makeRoom();
  lie(room, 'send_join', compressed);
  await joiner.beside(makeRoom(), () =>
    expect(joiner.join(room, 'hs1')).rejects.toMatchObject({
      status: 502,
      message: expect.stringMatching(/hs1: .*content-encoding gzip/),
    }),
  );
  expect(loadRoom(joiner.store, room.roomId)).toBeUndefined();
});

/**
 * The specification has servers label their answers as JSON. Synapse refuses those that do not; we look at what the answer is: an
 * event counts for its hash and its signatures, and a label makes nobody a liar.
 */
it.each([
  ['plain text', 'text/plain'],
  ['nothing', undefined],
  ['bytes', 'application/octet-stream'],
  ['HTML in UTF-16', 'text/html; charset=utf-16'],
])('a server whose JSON is all labelled as %s is believed as far as any other', async (_what, contentType) => {
  const room = makeRoom();
  const failures = listenToFailures();
  const act = labelled(contentType);
  const answered = new Set<string>();
  resident.script = ({ server, endpoint, uri }) => {
    const about = decodeURIComponent(uri);
    const isOurs = about.includes(room.roomId) || [...room.events.keys()].some((id) => about.endsWith(id));
    if (server !== 'hs1' || !isOurs) return undefined;
    answered.add(endpoint);
    return act;
  };
  await joiner.join(room, 'hs1');
  expect(await joiner.resync(room)).toEqual([true]);
  expect([...answered].toSorted()).toEqual(['event', 'make_join', 'send_join', 'state', 'state_ids']);
  expect([failures, joiner.row(room), joiner.members(room)]).toEqual([[], undefined, room.members()]);
});

describe('a server that stalls is waited for as long as the limits say, in virtual time', () => {
  afterEach(() => {
    vi.restoreAllMocks();
    vi.useRealTimers();
  });

  /** The head of the answer, and no more comes. */
  const onlyBegins: Act = (response) => response.writeHead(200, { 'content-type': 'application/json' }).flushHeaders();

  it.each<[string, string, Act, number, string]>([
    ['make_join', 'the first byte', staysSilent, MAKE_JOIN_TIMEOUT_MS, 'no answer within'],
    ['make_join', 'the next bytes', onlyBegins, IDLE_TIMEOUT_MS, 'no bytes for'],
    ['send_join', 'the first byte', staysSilent, STATE_FIRST_BYTE_TIMEOUT_MS, 'no answer within'],
    ['send_join', 'the next bytes', onlyBegins, STATE_IDLE_TIMEOUT_MS, 'no bytes for'],
    ['state_ids', 'the first byte', staysSilent, STATE_FIRST_BYTE_TIMEOUT_MS, 'no answer within'],
    ['state', 'the next bytes', onlyBegins, STATE_IDLE_TIMEOUT_MS, 'no bytes for'],
  ])('%s, %s', async (endpoint, _what, act, limitMs, refusal) => {
    const room = makeRoom();
    resident.script = () => undefined;
    const isJoin = endpoint.endsWith('_join');
    if (!isJoin) await joiner.join(room, 'hs4');
    const failures = listenToFailures();
    resident.script = ({ server, endpoint: asked }) => (server === 'hs4' && asked === endpoint ? act : undefined);
    vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout'] });
    const timers = vi.spyOn(globalThis, 'setTimeout');
    resident.asked.length = 0;
    const done = isJoin ? joiner.join(room, 'hs4', 'hs3') : joiner.resync(room);
    while (!resident.asked.includes(`hs4 ${endpoint}`)) await nextTurn();
    // Until the head is here the wait for the first byte runs; then that for the next bytes begins.
    if (act === onlyBegins) timers.mockClear();
    while (!timers.mock.calls.some(([, ms]) => ms === limitMs)) await nextTurn();
    vi.advanceTimersByTime(limitMs - 1);
    for (let turn = 0; turn < 10; turn++) await nextTurn();
    expect(failures).toEqual([]);
    vi.advanceTimersByTime(1);
    await done;
    expect(failures).toEqual([`hs4: ${refusal} ${limitMs} ms`]);
    vi.useRealTimers();
    if (isJoin) expect(joiner.row(room)?.joinedVia).toBe('hs3');
    else expect(joiner.members(room)).toEqual(room.members());
  });
});
