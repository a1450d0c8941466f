/**
 * `joinery resolve`: reads the events of a room and states made of them, resolves the states by the room version's
 * algorithm, prints what they resolve to.
 */

import { parseArgs } from 'node:util';
import type { AuthEvent } from '../../kernel/matrix/auth-event.js';
import { compareCodePoints } from '../../kernel/matrix/canonical-json.js';
import type { EventId } from '../../kernel/matrix/ids.js';
import { verifyInviteSignature } from '../../kernel/signatures/verify-invite-signature.js';
import { eventSourceOf } from '../../kernel/state-res/event-source.js';
import type { Resolution } from '../../kernel/state-res/resolve-state.js';
import { resolveState } from '../../kernel/state-res/resolve-state.js';
import type { StateMap } from '../../kernel/state-res/state-map.js';
import { splitStateKey, stateKeyOf } from '../../kernel/state-res/state-map.js';
import type { EventDocument } from '../document/read-events.js';
import { readEvents } from '../document/read-events.js';
import { InputError } from '../input-error.js';
import type { CommandStreams } from '../streams/command-streams.js';
import { Output } from '../streams/output.js';
import { oneFile, rulesOfOption } from '../tool-options.js';
import { UsageError } from '../usage-error.js';

/** Runs the command; whether no event was refused. */
export async function resolve(argv: readonly string[], streams: CommandStreams): Promise<boolean> {
  const { values, positionals } = parseArgs({
    args: [...argv],
    options: { 'room-version': { type: 'string' } },
    allowPositionals: true,
  });
  const rules = rulesOfOption('resolve', values['room-version']);
  const path = oneFile('resolve', positionals);
  if (path === undefined) throw new UsageError('resolve needs FILE, or - for standard input');
  const document = await readEvents(rules, path, streams.input);
  const events = eventsOf(document);
  const stateSets = stateSetsOf(document, events);
  const resolution = resolveState(rules, stateSets, eventSourceOf(events), { verifyInviteSignature });
  await print(resolution, new Output(streams.output));
  return resolution.rejected.length === 0;
}

/** The events by ID. All must be well-formed and of one room: without one the others would resolve to something else. */
function eventsOf(document: EventDocument): ReadonlyMap<EventId, AuthEvent> {
  const byId = new Map<EventId, AuthEvent>();
  const nameById = new Map<EventId, string>();
  let first: AuthEvent | undefined;
  for (const { name, reading } of document.events) {
    const fail = (words: string) => new InputError(`${document.name}: ${name}: ${words}`);
    if (!reading.ok) throw fail(`${reading.code}: ${reading.reason}`);
    const { eventId, event } = reading;
    if (byId.has(eventId)) throw fail(`${nameById.get(eventId)} has this ID already`);
    first ??= event;
    if (event.roomId !== first.roomId)
      throw fail(`belongs to room ${event.roomId}, the first event to ${first.roomId}`);
    byId.set(eventId, event);
    nameById.set(eventId, name);
  }
  return byId;
}

function stateSetsOf(document: EventDocument, events: ReadonlyMap<EventId, AuthEvent>): readonly StateMap[] {
  if (document.stateSets === undefined) throw new InputError(`${document.name}: has no "state_sets"`);
  return document.stateSets.map((ids, i) => {
    const stateMap = new Map<string, EventId>();
    for (const [j, id] of ids.entries()) {
      const fail = (words: string) => new InputError(`${document.name}: state_sets[${i}][${j}] (${id}): ${words}`);
      const event = events.get(id as EventId);
      if (event === undefined) throw fail('is not among the events');
      if (event.stateKey === undefined) throw fail('is not a state event');
      const key = stateKeyOf(event.type, event.stateKey);
      const other = stateMap.get(key);
      if (other !== undefined) throw fail(`has the type and state key of ${other}, which is in the same set`);
      stateMap.set(key, event.eventId);
    }
    return stateMap;
  });
}

/** One entry a line, so that two resolutions can be compared by eye and by `diff`. */
async function print(resolution: Resolution, output: Output): Promise<void> {
  const resolved = [...resolution.resolved].map(([key, event_id]) => {
    const [type, state_key] = splitStateKey(key);
    return { type, state_key, event_id };
  });
  resolved.sort((a, b) => compareCodePoints(a.type, b.type) || compareCodePoints(a.state_key, b.state_key));
  const rejected = resolution.rejected.map(({ eventId, code }) => ({ event_id: eventId, code }));
  const parts = [
    `{ "resolved": ${listOf(resolved)},\n`,
    `  "conflicted": ${resolution.conflictedCount}, "auth_difference": ${resolution.authDifferenceCount},\n`,
    `  "rejected": ${listOf(rejected)} }\n`,
  ];
  for (const part of parts) if (!(await output.write(part))) return;
}

function listOf(items: readonly object[]): string {
  if (items.length === 0) return '[]';
  return `[\n${items.map((item) => `    ${JSON.stringify(item)}`).join(',\n')}\n  ]`;
}
