/**
 * Whether the joiner ended with the right room: its state against the manifest, its state against the resident's, and
 * what it refused against what was planted. Differences are lines that a reader can act on.
 */

import type { RefusalFigures } from './admin-shapes.js';
import type { Api } from './api-client.js';
import { type Manifest, readExpectedState, type StateIds, splitStateKey, stateKeyText } from './room/manifest.js';
import { stateHash } from './room/state-hash.js';
import type { JoinFigures } from './run-join.js';

export interface Outcome {
  /** Of the joiner's state without its own user's membership, which is another event in each run. */
  readonly stateHash: string;
  readonly stateEvents: number;
  readonly members: number;
  readonly stateMatchesManifest: boolean;
  readonly stateMatchesResident: boolean;
  readonly refusalsMatch: boolean;
  readonly differences: readonly string[];
}

interface ClientState {
  readonly ids: StateIds;
  readonly joined: number;
}

interface StateEvent {
  readonly type: string;
  readonly state_key: string;
  readonly event_id: string;
  readonly content: { readonly membership?: string };
}

/** Differences that a reader is shown: of a wrong room there may be a hundred thousand. */
const DIFFERENCES_SHOWN = 10;

/** What a run says at its end. */
export function outcomeText(differences: readonly string[]): string {
  if (differences.length === 0) return 'All holds.';
  const shown = differences.slice(0, DIFFERENCES_SHOWN).map((difference) => `  ${difference}`);
  return [`${differences.length} differences, the first of them:`, ...shown].join('\n');
}

/** Looks at the outcome of a run. `roomFolder` has the expected state. */
export async function checkOutcome(
  roomFolder: string,
  manifest: Manifest,
  {
    joinerUser,
    residentUser,
    joinerUserId,
    refusals,
  }: Pick<JoinFigures, 'joinerUser' | 'residentUser' | 'joinerUserId' | 'refusals'>,
): Promise<Outcome> {
  const expected = await readExpectedState(roomFolder);
  const joiner = await clientState(joinerUser, manifest.room_id);
  const resident = await clientState(residentUser, manifest.room_id);
  const own = stateKeyText('m.room.member', joinerUserId);

  const againstResident = compareWithResident(joiner.ids, resident.ids, manifest);
  const ownMissing = joiner.ids.has(own) ? [] : [`the joiner's state lacks the membership of ${joinerUserId}`];
  const stateEvents = joiner.ids.size;
  joiner.ids.delete(own);
  const againstManifest = compareStates(joiner.ids, expected, 'manifest');
  const refused = compareRefusals(refusals, manifest);
  return {
    stateHash: stateHash(joiner.ids),
    stateEvents,
    members: joiner.joined,
    stateMatchesManifest: againstManifest.length + ownMissing.length === 0,
    stateMatchesResident: againstResident.length === 0,
    refusalsMatch: refused.length === 0,
    differences: [...ownMissing, ...againstManifest, ...againstResident, ...refused],
  };
}

async function clientState(user: Api, roomId: string): Promise<ClientState> {
  const answer = await user.get(`/_matrix/client/v3/rooms/${encodeURIComponent(roomId)}/state`);
  const ids: StateIds = new Map();
  let joined = 0;
  for (const event of answer.json as readonly StateEvent[]) {
    ids.set(stateKeyText(event.type, event.state_key), event.event_id);
    if (event.type === 'm.room.member' && event.content.membership === 'join') joined += 1;
  }
  return { ids, joined };
}

function describeKey(key: string): string {
  const [type, stateKey] = splitStateKey(key);
  return `(${type}, ${JSON.stringify(stateKey)})`;
}

/** The differences of the joiner's state from another, whose name is `other`. */
export function compareStates(joiner: StateIds, wanted: StateIds, other: string): string[] {
  const differences: string[] = [];
  for (const [key, eventId] of wanted) {
    const has = joiner.get(key);
    if (has !== eventId) differences.push(`${describeKey(key)}: joiner ${has ?? 'has none'}, ${other} ${eventId}`);
  }
  for (const [key, eventId] of joiner) {
    if (!wanted.has(key)) differences.push(`${describeKey(key)}: joiner ${eventId}, ${other} has none`);
  }
  return differences;
}

/** The same but for what the resident believes and the joiner must not. */
function compareWithResident(joiner: StateIds, resident: StateIds, manifest: Manifest): string[] {
  const believed = new Map(resident);
  for (const planted of manifest.planted) {
    if (!planted.in_state || planted.verdict === 'redacted') continue;
    const key = stateKeyText(planted.type, planted.state_key);
    if (believed.get(key) === planted.event_id) believed.delete(key);
  }
  return compareStates(joiner, believed, 'resident');
}

/** Differences of the refusals from what was planted. */
export function compareRefusals(refusals: readonly RefusalFigures[], manifest: Manifest): string[] {
  const differences: string[] = [];
  const byId = new Map(refusals.map((refusal) => [refusal.event_id, refusal]));
  for (const planted of manifest.planted) {
    const refusal = byId.get(planted.event_id);
    byId.delete(planted.event_id);
    const wanted = `${planted.verdict} (${planted.code})`;
    const got = refusal === undefined ? 'accepted' : `${refusal.verdict} (${refusal.code})`;
    if (got !== wanted) differences.push(`${planted.event_id}: joiner ${got}, manifest ${wanted}`);
  }
  for (const refusal of byId.values()) {
    differences.push(
      `${refusal.event_id}: joiner ${refusal.verdict} (${refusal.code}: ${refusal.reason}), manifest accepted`,
    );
  }
  return differences;
}
