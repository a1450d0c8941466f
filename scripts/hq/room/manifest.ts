/**
 * The manifest: what a joining server must end up with, written beside the resident's data folder by the builder and
 * read by the harness alone. Nothing in src/ knows that it exists.
 */

import { createReadStream } from 'node:fs';
import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { createInterface } from 'node:readline';

export type PlantedVerdict = 'dropped' | 'rejected' | 'redacted';

/** What must become of a planted event. */
export interface Expectation {
  readonly verdict: PlantedVerdict;
  readonly code: string;
}

export interface PlantedEvent extends Expectation {
  readonly event_id: string;
  readonly type: string;
  readonly state_key: string;
  /** Whether the resident has it in its current state, or in the auth chain only. */
  readonly in_state: boolean;
  /** NID in the resident's store. */
  readonly nid: number;
}

export interface ResidentUser {
  readonly user_id: string;
  readonly access_token: string;
}

export interface Manifest {
  readonly format: number;
  readonly seed: string;
  readonly room_version: string;
  readonly room_id: string;
  readonly resident: string;
  readonly resident_users: readonly ResidentUser[];
  /** State and auth chain; the forward extremity is one more. */
  readonly events: number;
  /** Entries of the resident's state. */
  readonly state_events: number;
  /** Entries of the state that a joining server accepts, its own membership not counted. */
  readonly expected_state_events: number;
  /** Joined members among those. */
  readonly members: number;
  readonly servers: number;
  readonly pdu_bytes: number;
  readonly forward_extremity: string;
  /** Of the expected state, see state-hash.ts. */
  readonly state_hash: string;
  readonly planted: readonly PlantedEvent[];
}

/** (type, state_key) to event ID. */
export type StateIds = Map<string, string>;

const MANIFEST_FILE = 'manifest.json';
/** One JSON list `[type, state_key, event_id]` a line. */
const STATE_FILE = 'expected-state.jsonl';

/** One string that stands for (type, state_key). */
export function stateKeyText(type: string, stateKey: string): string {
  return `${type}\0${stateKey}`;
}

/** Writes both files of a manifest. */
export async function writeManifest(folder: string, manifest: Manifest, expectedState: StateIds): Promise<void> {
  const lines: string[] = [];
  for (const [key, eventId] of expectedState) lines.push(JSON.stringify([...splitStateKey(key), eventId]));
  await writeFile(join(folder, STATE_FILE), `${lines.join('\n')}\n`);
  await writeFile(join(folder, MANIFEST_FILE), `${JSON.stringify(manifest, null, 1)}\n`);
}

/** The (type, state_key) that a text of stateKeyText stands for. */
export function splitStateKey(text: string): readonly [type: string, stateKey: string] {
  const at = text.indexOf('\0');
  return [text.slice(0, at), text.slice(at + 1)];
}

export async function readManifest(folder: string): Promise<Manifest> {
  return JSON.parse(await readFile(join(folder, MANIFEST_FILE), 'utf8')) as Manifest;
}

/** The state that a joining server must have, its own membership left out. */
export async function readExpectedState(folder: string): Promise<StateIds> {
  const state: StateIds = new Map();
  const lines = createInterface({ input: createReadStream(join(folder, STATE_FILE), 'utf8') });
  for await (const line of lines) {
    const [type, stateKey, eventId] = JSON.parse(line) as [string, string, string];
    state.set(stateKeyText(type, stateKey), eventId);
  }
  return state;
}
