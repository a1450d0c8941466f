/**
 * What goes wrong between servers: which fault a request meets, and what an answer becomes. Only faults that leave a joining
 * server a way to the truth: a list of state that is smaller throughout cannot be told from a smaller room, and an event that
 * is forged whoever is asked for it is one that nobody can have.
 */

import type { ServerName } from '../../src/kernel/matrix/ids.js';
import type { JsonObject, JsonValue } from '../../src/kernel/matrix/json.js';
import type { RemoteRequest } from '../../src/remote/federation-client.js';
import type { Random } from '../hq/room/plan/random.js';
import type { Answered } from './network.js';

export const FAULTS = [
  'drop',
  'lost-answer',
  'delay',
  'duplicate',
  'hang',
  'server-error',
  'too-often',
  'garbage',
  'cut',
  'stall',
  'withhold',
  'list-too-much',
  'wrong-event',
  'forge',
] as const;
export type Fault = (typeof FAULTS)[number];

/** Everything that can go wrong in a story, as it is counted once it really has. */
export const HAPPENINGS = [
  ...FAULTS.filter((fault) => fault !== 'withhold'),
  'truncated-list',
  'withheld-event',
  'reorder',
  'forged-by-puppet',
  'server-left',
  'full-disk',
  'joiner-crash',
  'resident-crash',
] as const;
export type Happening = (typeof HAPPENINGS)[number];

/** Probability of each fault. */
export type FaultRates = Readonly<Record<Fault, number>>;

/** How often somebody sits between the joining server and others and changes events, and up to which share of answers. */
const FORGER_SHARE = 0.4;
const FORGED_SHARE_MAX = 0.3;

/** Rates of one run: some faults do not occur in it, others often. */
export function drawRates(random: Random, forgerRandom: Random): FaultRates {
  const worst = random.pick([0, 0.02, 0.05, 0.1, 0.2]);
  const draw = () => (random.chance(0.5) ? 0 : random.next() * worst);
  const rates = FAULTS.filter((fault) => fault !== 'forge').map((fault) => [fault, draw()] as const);
  const forge = forgerRandom.chance(FORGER_SHARE) ? forgerRandom.next() * FORGED_SHARE_MAX : 0;
  return { ...(Object.fromEntries(rates) as Record<Fault, number>), forge };
}

/** The fault that a request meets. Keys always come in the end: without one its events are another room's history. */
export function chooseFault(random: Random, rates: FaultRates, { path }: RemoteRequest): Fault | undefined {
  const isKeys = path.startsWith('/_matrix/key/');
  let dice = random.next();
  for (const fault of FAULTS) {
    dice -= rates[fault];
    if (dice < 0) return isKeys ? undefined : fault;
  }
  return undefined;
}

/** What comes of an answer, and what has happened to it: nothing where the fault is none for such an answer. */
export function alterAnswer(
  random: Random,
  fault: Fault,
  origin: ServerName,
  { path }: RemoteRequest,
  answer: Answered,
): readonly [Answered, Happening | undefined] {
  if (answer.status !== 200) return [answer, undefined];
  const endpoint = path.split('/')[4] ?? '';
  if (fault === 'withhold' && endpoint === 'event')
    return [{ status: 404, body: Buffer.from('{"errcode":"M_NOT_FOUND"}') }, 'withheld-event'];
  const parsed = JSON.parse(answer.body.toString('utf8')) as JsonValue;
  const body = { ...((Array.isArray(parsed) ? parsed[1] : parsed) as JsonObject) };
  const happened = alterBody(random, fault, origin, endpoint, body);
  if (happened === undefined) return [answer, undefined];
  const altered = JSON.stringify(Array.isArray(parsed) ? [200, body] : body);
  return [{ status: 200, body: Buffer.from(altered) }, happened];
}

/** Whose answers are forged. */
const FORGED_FOR = 'hs2';
/** Where an answer has events. */
const EVENT_LISTS: Readonly<Record<string, readonly string[]>> = {
  send_join: ['state', 'auth_chain'],
  state: ['pdus', 'auth_chain'],
  event: ['pdus'],
  event_auth: ['auth_chain'],
  get_missing_events: ['events'],
  backfill: ['pdus'],
};
/** Those of them that may come short. */
const TRUNCATED: readonly string[] = ['send_join state', 'state pdus', 'state auth_chain', 'get_missing_events events'];

function alterBody(
  random: Random,
  fault: Fault,
  origin: ServerName,
  endpoint: string,
  body: Record<string, JsonValue | undefined>,
): Happening | undefined {
  const lists = (EVENT_LISTS[endpoint] ?? []).filter((list) => Array.isArray(body[list]));
  if (fault === 'withhold') {
    let missing = 0;
    // Which events are state cannot be checked; that what they rest on is listed too can be.
    if (endpoint === 'state_ids') {
      const whole = body.auth_chain_ids as string[];
      body.auth_chain_ids = whole.filter(() => !random.chance(0.2));
      missing = whole.length - (body.auth_chain_ids as string[]).length;
    }
    // Nor can a full answer to a join; what is missing in a partial one, the resync brings.
    const isFinal = endpoint === 'send_join' && body.members_omitted !== true;
    for (const list of lists.filter((name) => !isFinal && TRUNCATED.includes(`${endpoint} ${name}`))) {
      const whole = body[list] as JsonObject[];
      const thinned = whole.filter(({ type }) => type === 'm.room.create' || !random.chance(0.2));
      missing += whole.length - thinned.length;
      body[list] = thinned;
    }
    return missing === 0 ? undefined : 'truncated-list';
  }
  if (fault === 'list-too-much' && endpoint === 'state_ids') {
    const made = Array.from({ length: 43 }, () => random.pick([...'abcdefghijklmnopqrstuvwxyz'])).join('');
    const list = body.pdu_ids as string[];
    body.pdu_ids = [...list, `$${made}`, ...list.slice(0, 2)];
    return fault;
  }
  if (fault === 'wrong-event' && endpoint === 'event') {
    const [pdu] = body.pdus as JsonObject[];
    body.pdus = [{ ...pdu, origin_server_ts: random.below(2 ** 40) }];
    return fault;
  }
  // What residents were told wrong they might tell others: here the joining server alone is lied to.
  if (fault !== 'forge' || origin !== FORGED_FOR) return undefined;
  const events = lists.flatMap((list) => (body[list] as JsonObject[]).map((_, at) => [list, at] as const));
  if (events.length === 0) return undefined;
  const [list, at] = random.pick(events);
  body[list] = (body[list] as JsonObject[]).map((event, n) => (n === at ? forged(random, event) : event));
  return fault;
}

/** An event with its ID, and another signature or another content; or with another sender, which is another event. */
function forged(random: Random, event: JsonObject): JsonObject {
  const way = random.pick(['signature', 'signature', 'content', 'sender']);
  if (way === 'content') return { ...event, content: { ...(event.content as JsonObject), forged: random.below(1000) } };
  if (way === 'sender') return { ...event, sender: '@mallory:hs1' };
  const signatures = Object.entries(event.signatures as Record<string, JsonObject>).map(([server, keys]) => [
    server,
    Object.fromEntries(Object.entries(keys).map(([key, value]) => [key, [...(value as string)].reverse().join('')])),
  ]);
  return { ...event, signatures: Object.fromEntries(signatures) as JsonObject };
}
