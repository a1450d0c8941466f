/** Which crashes a run makes: those named, or all points that a run without a crash was seen to pass. */

import { OptionError } from '../options.js';

export type Victim = 'joiner' | 'resident' | 'both';

export interface Crash {
  readonly victim: Victim;
  /** Passed by the resident where it is the victim, else by the joiner. */
  readonly point: string;
}

/** Writes of one kind, evenly spread, that `all` crashes after; every write of a large resync would take days. */
const WRITES_TRIED_MAX = 8;
/** Other work writes too, so that a count is not the same in each run: the last ones may not come again. */
const WRITES_SHARE = 0.75;
/** Moments of the joiner at which both processes end. */
const BOTH_AT = ['stage:send_join:running', 'stage:fetching:running', 'stage:authorising:running'];
/** Answers of the resident to the joiner: to its questions, and to what it sends. */
const RESIDENT_ANSWERS = /^(answer|half-sent):.*\/(make_join|send_join|state_ids|state|event|send)\//;
/** Answers of the joiner: to its user, and to a server that sends. */
const JOINER_ANSWERS = /^answer:.*\/(join\/|send\/\{|members)/;

/** The crash that `[joiner@|resident@|both@]POINT` names. */
export function parseCrash(text: string): Crash {
  const [, victim = 'joiner', point = ''] = /^(?:(joiner|resident|both)@)?(.*)$/.exec(text) ?? [];
  const known =
    /^(?:(?:idle|join|resync|completion)-(?:write|queued):[1-9]\d*|stage:\w+:(?:running|done)|answer:.+|half-sent:.+)$/;
  if (!known.test(point)) throw new OptionError(`--crash ${text}: there is no crash point ${point}`);
  return { victim: victim as Victim, point };
}

export function crashName({ victim, point }: Crash): string {
  return victim === 'joiner' ? point : `${victim}@${point}`;
}

/** All crashes, from the points that each process passed. */
export function allCrashes(joiner: readonly string[], resident: readonly string[]): Crash[] {
  const named = joiner.filter((point) => point.startsWith('stage:') || JOINER_ANSWERS.test(point));
  const counted = ['join', 'resync', 'completion'].flatMap((phase) => [
    ...spread(joiner, `${phase}-write`),
    ...spread(joiner, `${phase}-queued`),
  ]);
  return [
    ...[...counted, ...named].map((point) => ({ victim: 'joiner' as const, point })),
    ...BOTH_AT.filter((point) => joiner.includes(point)).map((point) => ({ victim: 'both' as const, point })),
    ...resident.filter((p) => RESIDENT_ANSWERS.test(p)).map((point) => ({ victim: 'resident' as const, point })),
  ];
}

function spread(points: readonly string[], kind: string): string[] {
  const count = Math.ceil(points.filter((point) => point.startsWith(`${kind}:`)).length * WRITES_SHARE);
  const tried = Math.min(count, WRITES_TRIED_MAX);
  const numbers = Array.from({ length: tried }, (_, i) => 1 + Math.floor((i * count) / tried));
  return numbers.map((number) => `${kind}:${number}`);
}
