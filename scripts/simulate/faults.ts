/**
 * What goes wrong between servers: which fault a request meets, and what an answer becomes. Only faults that leave a joining
 * server a way to the truth: a list of state that is smaller throughout cannot be told from a smaller room.
 */

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
] as const;
export type Fault = (typeof FAULTS)[number];

/** Probability of each fault. */
export type FaultRates = Readonly<Record<Fault, number>>;

/** Rates of one run: some faults do not occur in it, others often. */
export function drawRates(random: Random): FaultRates {
  const worst = random.pick([0, 0.02, 0.05, 0.1, 0.2]);
  const draw = () => (random.chance(0.5) ? 0 : random.next() * worst);
  return Object.fromEntries(FAULTS.map((fault) => [fault, draw()])) as Record<Fault, number>;
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

/** What comes of an answer. */
export function alterAnswer(random: Random, fault: Fault, { path }: RemoteRequest, answer: Answered): Answered {
  if (answer.status !== 200) return answer;
  const altered = (change: (body: Record<string, JsonValue | undefined>) => void): Answered => {
    const parsed = JSON.parse(answer.body.toString('utf8')) as JsonValue;
    const body = { ...((Array.isArray(parsed) ? parsed[1] : parsed) as JsonObject) };
    change(body);
    return { status: 200, body: Buffer.from(JSON.stringify(Array.isArray(parsed) ? [200, body] : body)) };
  };
  const thin = (list: JsonValue | undefined): JsonValue =>
    Array.isArray(list)
      ? list.filter((item) => (item as JsonObject).type === 'm.room.create' || !random.chance(0.2))
      : [];
  if (fault === 'withhold') {
    if (path.includes('/send_join/'))
      return altered((body) => {
        body.state = thin(body.state);
      });
    if (path.includes('/state/'))
      return altered((body) => {
        body.pdus = thin(body.pdus);
        body.auth_chain = thin(body.auth_chain);
      });
    if (path.includes('/get_missing_events/'))
      return altered((body) => {
        body.events = thin(body.events);
      });
    if (path.includes('/event/')) return { status: 404, body: Buffer.from('{"errcode":"M_NOT_FOUND"}') };
  }
  if (fault === 'list-too-much' && path.includes('/state_ids/'))
    return altered((body) => {
      const made = Array.from({ length: 43 }, () => random.pick([...'abcdefghijklmnopqrstuvwxyz'])).join('');
      const list = body.pdu_ids as string[];
      body.pdu_ids = [...list, `$${made}`, ...list.slice(0, 2)];
    });
  if (fault === 'wrong-event' && path.includes('/event/'))
    return altered((body) => {
      const [pdu] = body.pdus as JsonObject[];
      body.pdus = [{ ...pdu, origin_server_ts: random.below(2 ** 40) }];
    });
  return answer;
}
