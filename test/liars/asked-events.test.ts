/** Whoever pushes an event is asked for what it rests on, and may lie there too: at /event, /event_auth, /get_missing_events. */

import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import type { EventId } from '../../src/kernel/matrix/ids.js';
import type { JsonObject } from '../../src/kernel/matrix/json.js';
import type { SignedEvent } from '../../src/kernel/signatures/sign-pdu.js';
import { AUTH_ROUNDS_MAX } from '../../src/room/intake/fetch-missing-auth.js';
import type { Act, ScriptedResident } from '../support/scripted-resident.js';
import {
  answers,
  answersJson,
  closesAtOnce,
  closesInTheMiddle,
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

const CAROL = '@carol:hs3';
const PATIENCE_MS = 60;

let resident: ScriptedResident;
let joiner: LoopbackJoiner;
let honest: ScriptedRoom;
let room: ScriptedRoom;
let failures: string[];
beforeAll(async () => {
  resident = await startScriptedResident(['hs1', 'hs3', 'hs4']);
  joiner = await LoopbackJoiner.start(resident, { patienceMs: PATIENCE_MS });
  [room, honest] = ['asked', 'honest'].map((name) => {
    const made = new ScriptedRoom(name);
    made.member(CAROL, 'join');
    made.say('last');
    resident.rooms.push(made);
    return made;
  }) as [ScriptedRoom, ScriptedRoom];
  await joiner.join(room, 'hs1');
  await joiner.join(honest, 'hs1');
  expect(await joiner.resync(room, honest)).toEqual([true, true]);
});
afterAll(async () => {
  await joiner.close();
  await resident.close();
});
beforeEach(() => {
  failures = [];
  joiner.server.log.warn = ({ error }: { error?: string }) => failures.push(error ?? '');
});

let made = 0;
/** Changes of Carol's name that rest on one another; the last is to be pushed. */
function chain(length: number): SignedEvent[] {
  const events: SignedEvent[] = [];
  const common = [room.id('m.room.create'), room.id('m.room.power_levels'), room.id('m.room.join_rules')];
  let last = room.id('m.room.member', CAROL);
  for (let n = 0; n < length; n++) {
    const content = { membership: 'join', displayname: `${made++}` };
    const said = { type: 'm.room.member', sender: CAROL, stateKey: CAROL, content };
    const event = room.sign(said, { auth: [...common, last] });
    events.push(event);
    last = event.eventId;
  }
  return events;
}

/** Messages that follow upon one another; the last is to be pushed. */
function messages(length: number): SignedEvent[] {
  const events: SignedEvent[] = [];
  let prevs = room.ends;
  for (let n = 0; n < length; n++) {
    const event = room.sign({ type: 'm.room.message', sender: CAROL, content: { n: made++ } }, { prevs });
    events.push(event);
    prevs = [event.eventId];
  }
  return events;
}

interface Asked {
  readonly endpoint: string;
  readonly field: string;
  /** What the pushed event, the last, rests on. */
  readonly make: () => SignedEvent[];
  readonly dropped: RegExp;
}

const ENDPOINTS: readonly Asked[] = [
  { endpoint: 'event', field: 'pdus', make: () => chain(2), dropped: /auth event is not to be had/ },
  {
    endpoint: 'event_auth',
    field: 'auth_chain',
    make: () => chain(AUTH_ROUNDS_MAX + 2),
    dropped: /auth event is not to be had/,
  },
  {
    endpoint: 'get_missing_events',
    field: 'events',
    make: () => messages(2),
    dropped: /prev_events are not to be had/,
  },
];

const ACT = {
  gzipBomb: gzipBomb(50, {}),
  notFound: answersJson({ errcode: 'M_NOT_FOUND' }, 404),
  limited: answers('{"errcode":"M_LIMIT_EXCEEDED"}', 429, { 'retry-after': '3600' }),
};
/** Whether the same question may be answered in a while; where it is not said, either will do. */
type MayPass = 'may pass' | 'is final' | 'either';

/** What hs4 answers at one endpoint, what the log says of it, and whether the event may be taken in later. */
const ACTS: readonly (readonly [what: string, act: (field: string) => Act, why: RegExp, mayPass: MayPass])[] = [
  ['garbage', () => answers('\u0000\u0001<not json>'), /^hs4: .*not a JSON object/, 'is final'],
  ['half an answer', () => halfAnAnswer, /^hs4: .*ends in the middle/, 'is final'],
  ['a list', () => answersJson([1, 2]), /^hs4: .*not a JSON object/, 'is final'],
  ['an object without anything', () => answersJson({}), /not exactly one PDU|not to be had/, 'is final'],
  ['numbers', (field) => answersJson({ [field]: [1] }), /^hs4: .*something other than objects/, 'is final'],
  ['an empty object for the event', (field) => answersJson({ [field]: [{}] }), /not to be had/, 'is final'],
  ['another event', (field) => answersJson({ [field]: [eventOf(room)] }), /not to be had/, 'is final'],
  ['an event of another room', (field) => answersJson({ [field]: [eventOf(honest)] }), /not to be had/, 'is final'],
  [
    'a flood of nothing',
    (field) => answers(`{"${field}":[${'{},'.repeat(1_000_000)}{}]}`),
    /^hs4: |not to be had/,
    'either',
  ],
  ['events without end', (field) => neverEnds(`{"${field}":[{}`, () => ',{}'.repeat(20_000)), /^hs4: /, 'either'],
  ['a string without end', (field) => neverEnds(`{"${field}":["`, () => 'x'.repeat(65_536)), /^hs4: /, 'either'],
  ['white space that drips', () => drips(PATIENCE_MS / 4), /^hs4: .*(did not end|no answer|no bytes)/, 'may pass'],
  ['silence', () => staysSilent, /^hs4: no answer within/, 'may pass'],
  ['a beginning and then nothing', () => stallsInTheMiddle, /^hs4: no (bytes for|answer within)/, 'may pass'],
  ['a closed connection', () => closesAtOnce, /^hs4: .*(closed|socket)/i, 'may pass'],
  ['half and a closed connection', () => closesInTheMiddle, /^hs4: .*(closed|terminated|socket)/i, 'may pass'],
  ['a 500', () => answers('oh', 500), /^hs4: answered 500: oh/, 'may pass'],
  ['a 404', () => ACT.notFound, /^hs4: answered 404 M_NOT_FOUND/, 'is final'],
  ['a 429 with Retry-After', () => ACT.limited, /^hs4: answered 429 M_LIMIT_EXCEEDED/, 'may pass'],
  ['a gzip bomb', () => ACT.gzipBomb, /^hs4: /, 'is final'],
];

const eventOf = (of: ScriptedRoom) => of.pdu(of.id('m.room.name'));

describe.each(ENDPOINTS)(
  'a server that pushes an event and answers $endpoint with',
  ({ endpoint, field, make, dropped }) => {
    /** hs4 does so; elsewhere it gives what it should. */
    function lie(events: readonly SignedEvent[], act: Act | undefined): void {
      const jsonOf = new Map(events.map(({ eventId, json }) => [eventId, json]));
      resident.script = ({ server, endpoint: asked, uri }) => {
        if (server !== 'hs4') return undefined;
        const id = decodeURIComponent(uri).split('/').at(-1) as EventId;
        const pdu = asked === 'event' ? jsonOf.get(id) : undefined;
        const others = events.slice(0, -1).map(({ json }) => json);
        const truth = asked === 'event' ? { pdus: pdu === undefined ? [] : [pdu] } : { [field]: others };
        if (asked !== endpoint || act === undefined) return answersJson(truth as JsonObject);
        return (response) => act(response, truth as JsonObject);
      };
    }

    it.each(ACTS)('%s: it is dropped with an error, and an honest room goes on', async (_what, act, why, mayPass) => {
      const events = make();
      const pushed = events.at(-1) as SignedEvent;
      const beside = honest.sign({ type: 'm.room.message', sender: CAROL, content: { n: made++ } });
      // Waited for as usual where it answers, whatever the machine does.
      if (mayPass === 'either' || /no |did not/.test(why.source)) joiner.slow.add('hs4');
      else joiner.slow.delete('hs4');
      lie(events, act(field));
      resident.asked.length = 0;
      const [answer, other] = await bounded(() =>
        Promise.all([joiner.receive(room, 'hs4', pushed.json), joiner.receive(honest, 'hs3', beside.json)]),
      );
      honest.add(beside);
      expect(other.get(beside.eventId)).toEqual({});
      const said = answer.get(pushed.eventId);
      expect(said?.error).toMatch(dropped);
      if (mayPass !== 'either') expect(said?.mayPass ?? false).toBe(mayPass === 'may pass');
      expect(failures[0]).toMatch(why);
      expect(resident.asked.length).toBeLessThanOrEqual(AUTH_ROUNDS_MAX + 2);
      expect(joiner.verdict(pushed.eventId)).toMatch(/^(none|unjudged)$/);
      expect(joiner.refusal(room, pushed.eventId)?.reason).toMatch(/^pushed by hs4: /);
    });

    it('the truth has it taken in', async () => {
      const events = make();
      const pushed = events.at(-1) as SignedEvent;
      joiner.slow.delete('hs4');
      lie(events, labelled('application/json'));
      expect((await joiner.receive(room, 'hs4', pushed.json)).get(pushed.eventId)).toEqual({});
      expect(joiner.verdict(pushed.eventId)).toBe('accepted');
    });
  },
);

describe('a server that gives the state event by event', () => {
  const limited = (seconds: string) => answers('{"errcode":"M_LIMIT_EXCEEDED"}', 429, { 'retry-after': seconds });

  /** A room whose join brings nearly all of it, so that the rest is asked for one by one. hs1 is scripted, hs3 honest. */
  async function resync(act: (times: number) => Act | undefined): Promise<{ asked: number; servers: string[] }> {
    const large = new ScriptedRoom(`large${made++}`);
    for (const user of [CAROL, '@dave:hs3']) large.member(user, 'join');
    for (let n = 0; n < 40; n++) large.state('org.example.fact', `${n}`, { n });
    const dave = large.id('m.room.member', '@dave:hs3');
    large.say('last');
    resident.rooms.push(large);
    resident.script = () => undefined;
    await joiner.join(large, 'hs1');
    let times = 0;
    resident.script = ({ server, uri }) =>
      server === 'hs1' && decodeURIComponent(uri).endsWith(dave) ? act(times++) : undefined;
    resident.asked.length = 0;
    await bounded(async () => expect(await joiner.resync(large)).toEqual([true]));
    expect(joiner.members(large)).toEqual(large.members());
    return { asked: times, servers: resident.asked.filter((line) => line.endsWith('state_ids')) };
  }

  it('and says twice that we ask too often is asked again when it lets us', async () => {
    const { asked, servers } = await resync((times) => (times < 2 ? limited('0') : undefined));
    expect([asked, servers, failures]).toEqual([3, ['hs1 state_ids'], []]);
  });

  it.each<[string, Act, number, RegExp]>([
    ['says without end that we ask too often', limited('0'), 21, /^hs1: answered 429 M_LIMIT_EXCEEDED/],
    ['answers 500', answers('oh', 500), 1, /^hs1: answered 500: oh/],
    ['never ends one', neverEnds('{"pdus":[{"x":"', () => 'x'.repeat(65_536)), 1, /^hs1: pdus: more than \d+ bytes/],
    ['gives garbage for one', answers('<>'), 1, /^hs1: pdus: the response is not a JSON object/],
  ])('and %s fails by name, and the next one completes the room', async (_what, act, most, why) => {
    const { asked, servers } = await resync(() => act);
    expect(failures).toEqual([expect.stringMatching(why)]);
    expect([asked, servers]).toEqual([most, ['hs1 state_ids', 'hs3 state_ids']]);
  });
});
