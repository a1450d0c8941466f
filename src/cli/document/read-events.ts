/**
 * The document of `check-auth` and `resolve`: `events`, each read as it is met, and the state sets where they are wanted.
 * Other members are stepped over, so that one file serves both tools.
 */

import type { Readable } from 'node:stream';
import type { RoomVersionRules } from '../../kernel/matrix/room-versions.js';
import { InputError } from '../input-error.js';
import type { JsonCursor } from './json-cursor.js';
import { JsonPlaceError } from './json-cursor.js';
import { LineCounter, readDocument } from './read-document.js';
import type { EventReading } from './read-event.js';
import { readEvent } from './read-event.js';

/** Most events of a document: about 2 KB of memory each. */
export const EVENTS_MAX = 1_000_000;

/** An event of the document, or what is wrong with it. */
export interface DocumentEvent {
  /** As errors name it: `events[3] ($id, line 17)`. */
  readonly name: string;
  readonly reading: EventReading;
}

export interface EventDocument {
  readonly name: string;
  readonly events: readonly DocumentEvent[];
  /** Undefined where the document has none. */
  readonly stateSets: readonly (readonly string[])[] | undefined;
}

export async function readEvents(
  rules: RoomVersionRules,
  path: string,
  standardInput: Readable,
  eventsMax = EVENTS_MAX,
): Promise<EventDocument> {
  let fileName = path;
  const events: DocumentEvent[] = [];
  const seen = new Set<string>();
  let stateSets: string[][] | undefined;
  await readDocument(path, standardInput, (cursor, name) => {
    fileName = name;
    cursor.readObject((key, offset) => {
      if (seen.has(key)) throw new JsonPlaceError(offset, `${JSON.stringify(key)} stands twice`);
      seen.add(key);
      if (key === 'events') readList(rules, cursor, events, eventsMax);
      else if (key === 'state_sets') stateSets = readStateSets(cursor);
      else cursor.skipValue();
    });
  });
  if (!seen.has('events')) throw new InputError(`${fileName}: has no "events"`);
  return { name: fileName, events, stateSets };
}

function readList(rules: RoomVersionRules, cursor: JsonCursor, events: DocumentEvent[], eventsMax: number): void {
  const lines = new LineCounter(cursor.bytes);
  cursor.readList((index) => {
    if (index >= eventsMax) cursor.fail(`more than ${eventsMax} events`);
    const start = cursor.skipValue();
    const reading = readEvent(rules, cursor.bytes.toString('utf8', start, cursor.at));
    const id = reading.eventId === undefined ? '' : `${reading.eventId}, `;
    events.push({ name: `events[${index}] (${id}line ${lines.lineAt(start)})`, reading });
  });
}

function readStateSets(cursor: JsonCursor): string[][] {
  const sets: string[][] = [];
  cursor.readList(() => {
    const set: string[] = [];
    cursor.readList(() => set.push(cursor.readString()));
    sets.push(set);
  });
  return sets;
}
