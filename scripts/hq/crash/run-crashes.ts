/**
 * `npm run hq -- --crash`: for each crash a room of its own is joined, a process is ended at the point and started again on
 * its folder, and the outcome is checked as after a run without one: state, refusals, answered messages. Each crash must
 * have been reached, and what was stored at that moment must be neither verified nor written again.
 *
 * `refetched_bytes`: events that came again though they were stored, which the API makes inevitable where `/state` is
 * asked for. `reverified_events` and `rewritten_events` count what should not happen: none, but for CROSSING_EVENTS_MAX.
 */

import { rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { openStoreReader, storePath } from '../../../src/store/open-store.js';
import type { RefusalFigures, ResyncFigures } from '../admin-shapes.js';
import { apiOf } from '../api-client.js';
import { checkOutcome } from '../check-outcome.js';
import type { HqOptions } from '../options.js';
import { startOriginSink } from '../origin-sink.js';
import type { Manifest } from '../room/manifest.js';
import type { CachedRoom } from '../room/room-cache.js';
import { prepareRun, type RunFolders, type ServerFolder } from '../run-folders.js';
import { missingMessages, persistently, playStory } from './crash-story.js';
import { allCrashes, type Crash, crashName, parseCrash } from './plan-crashes.js';
import { SupervisedServer } from './supervised-server.js';

const TRACE: Crash = { victim: 'both', point: 'trace' };
/** A message is sent again to a server that was away after a back-off of a minute. */
const DELIVERY_MS_MAX = 180_000;
/** Events of the story: the join and the messages. */
const OWN_EVENTS_MAX = 8;
/**
 * Events verified twice, at the same time: a pushed message rests on its sender's membership and on what allowed that, while
 * the resync is just fetching them too. The later one finds them stored.
 */
const CROSSING_EVENTS_MAX = 2;
const DIFFERENCES_SHOWN = 5;

interface CrashResult {
  readonly point: string;
  readonly reached: boolean;
  readonly stored_at_crash: number;
  readonly stored_at_end: number;
  readonly refetched_bytes: number;
  readonly reverified_events: number;
  readonly rewritten_events: number;
  readonly messages_kept: boolean;
  readonly state_hash: string;
  readonly state_matches: boolean;
  readonly refusals_match: boolean;
  readonly differences: readonly string[];
  readonly took_ms: number;
}

interface Rehearsal {
  readonly options: HqOptions;
  readonly room: CachedRoom;
  readonly manifest: Manifest;
  readonly dir: string;
}

/** Makes the crashes that `wanted` names in folders under `dir`; whether all holds. */
export async function runCrashes(
  options: HqOptions,
  wanted: string,
  room: CachedRoom,
  manifest: Manifest,
  dir: string,
  print: (text: string) => void,
): Promise<boolean> {
  const rehearsal = { options, room, manifest, dir };
  const crashes = wanted === 'all' ? await findCrashes(rehearsal, print) : wanted.split(',').map(parseCrash);
  const results: CrashResult[] = [];
  for (const [n, crash] of crashes.entries()) {
    const { result } = await runCrash(rehearsal, crash, n + 1);
    results.push(result);
    print(lineOf(result));
    for (const difference of result.differences.slice(0, DIFFERENCES_SHOWN)) print(`  ${difference}`);
    // After each: an hour of crashes must not be for nothing when the run is ended.
    if (options.jsonFile !== undefined) await writeReport(options.jsonFile, manifest, crashes.length, results);
  }
  const { holds, wrong } = verdictOf(results);
  print(holds ? 'All holds.' : `${wrong} crashes went wrong.`);
  return holds;
}

function verdictOf(results: readonly CrashResult[]): { readonly holds: boolean; readonly wrong: number } {
  const wrong = results.filter(({ differences }) => differences.length > 0).length;
  // Wherever it was killed, the room ends in the same state.
  return { holds: wrong === 0 && new Set(results.map(({ state_hash }) => state_hash)).size === 1, wrong };
}

async function writeReport(
  file: string,
  { events, seed, room_version }: Manifest,
  planned: number,
  results: readonly CrashResult[],
): Promise<void> {
  const sum = (of: (result: CrashResult) => number): number => results.reduce((total, result) => total + of(result), 0);
  const report = {
    events,
    seed,
    room_version,
    holds: verdictOf(results).holds && results.length === planned,
    crashes_planned: planned,
    crashes: results.length,
    refetched_bytes: sum(({ refetched_bytes }) => refetched_bytes),
    reverified_events: sum(({ reverified_events }) => reverified_events),
    rewritten_events: sum(({ rewritten_events }) => rewritten_events),
    results,
  };
  await writeFile(file, `${JSON.stringify(report, null, 2)}\n`);
}

/** A run without a crash, in which each process says what it passes. */
async function findCrashes(rehearsal: Rehearsal, print: (text: string) => void): Promise<Crash[]> {
  const { joiner, resident } = await runCrash(rehearsal, TRACE, 0);
  const crashes = allCrashes(joiner, resident);
  print(`${joiner.length + resident.length} crash points were passed; ${crashes.length} crashes follow`);
  return crashes;
}

function lineOf(result: CrashResult): string {
  const words = [
    result.point.padEnd(40),
    result.reached ? 'reached' : 'NOT REACHED',
    `stored ${result.stored_at_crash}/${result.stored_at_end}`,
    `refetched ${result.refetched_bytes} B`,
    `reverified ${result.reverified_events}`,
    `rewritten ${result.rewritten_events}`,
    `${(result.took_ms / 1000).toFixed(1)} s`,
    result.differences.length === 0 ? 'holds' : `${result.differences.length} differences`,
  ];
  return words.join('  ');
}

interface CrashRun {
  readonly result: CrashResult;
  /** Points that each process said it reached or passed. */
  readonly joiner: readonly string[];
  readonly resident: readonly string[];
}

async function runCrash({ options, room, manifest, dir }: Rehearsal, crash: Crash, n: number): Promise<CrashRun> {
  const startMs = performance.now();
  const run = await prepareRun(join(dir, `crash-${n}`), room, manifest, options);
  const sink = await startOriginSink(run.sinkPort, run.sinkTls);
  const isTrace = crash === TRACE;
  const resident = new SupervisedServer(run.resident, crash.victim === 'resident' || isTrace ? crash.point : undefined);
  const joiner = new SupervisedServer(run.joiner, crash.victim === 'resident' ? undefined : crash.point);
  let storedAtCrash = 0;
  joiner.onKilled = async () => {
    storedAtCrash = storedEvents(run.joiner);
    if (crash.victim === 'both') await resident.kill();
    await resident.up();
  };
  try {
    await Promise.all([resident.up(), joiner.up()]);
    const told = await playStory(
      { server: joiner, token: run.joiner.adminToken },
      { server: resident, token: manifest.resident_users[0]?.access_token ?? '' },
      manifest.room_id,
      manifest.resident,
    );
    // The last writes come after the story: a server may be killed while it is asked how it ended.
    const outcome = await persistently(() => outcomeOf(run, room, manifest, { joiner, resident }, told));
    const points = { joiner: joiner.points, resident: resident.points };
    await joiner.stop();
    const reached = isTrace || (crash.victim === 'resident' ? points.resident : points.joiner).includes(crash.point);
    const lives = { joiner: joiner.lives, resident: resident.lives };
    const storedAtEnd = storedEvents(run.joiner);
    const { counts } = outcome.resync;
    // Events that came and were left out when they were judged are stored for a while only.
    const rewritten = counts.stored_events - counts.dropped_events - Math.max(0, storedAtEnd - storedAtCrash);
    const figures = {
      point: crashName(crash),
      reached,
      stored_at_crash: storedAtCrash,
      stored_at_end: storedAtEnd,
      refetched_bytes: counts.repeated_bytes,
      reverified_events: counts.verified_signatures - counts.stored_events,
      rewritten_events: Math.max(0, rewritten),
      messages_kept: outcome.lost.length === 0,
      state_hash: outcome.stateHash,
      state_matches: outcome.stateMatches,
      refusals_match: outcome.refusalsMatch,
      took_ms: Math.round(performance.now() - startMs),
    };
    const differences = [...outcome.differences, ...wrongFigures(crash, figures, lives, isTrace)];
    return { result: { ...figures, differences }, ...points };
  } finally {
    await Promise.allSettled([joiner.stop(), resident.stop(), sink.close()]);
    if (options.keepDir === undefined) await rm(join(dir, `crash-${n}`), { recursive: true, force: true });
  }
}

function wrongFigures(
  { victim }: Crash,
  figures: Omit<CrashResult, 'differences'>,
  lives: { readonly joiner: number; readonly resident: number },
  isTrace: boolean,
): string[] {
  const wrong: string[] = [];
  if (!figures.reached) wrong.push(`the crash point ${figures.point} was not reached`);
  const wanted = isTrace ? { joiner: 1, resident: 1 } : livesWanted(victim);
  if (lives.joiner !== wanted.joiner || lives.resident !== wanted.resident) {
    wrong.push(`the joiner lived ${lives.joiner} times and the resident ${lives.resident} times`);
  }
  if (figures.reverified_events > CROSSING_EVENTS_MAX)
    wrong.push(`${figures.reverified_events} stored events were verified again`);
  if (figures.rewritten_events > 0) wrong.push(`${figures.rewritten_events} stored events were written again`);
  const lost = figures.stored_at_crash - figures.stored_at_end;
  if (lost > OWN_EVENTS_MAX + figures.stored_at_crash / 10) wrong.push(`${lost} stored events are gone`);
  return wrong;
}

function livesWanted(victim: Crash['victim']): { readonly joiner: number; readonly resident: number } {
  return { joiner: victim === 'resident' ? 1 : 2, resident: victim === 'joiner' ? 1 : 2 };
}

async function outcomeOf(
  run: RunFolders,
  room: CachedRoom,
  manifest: Manifest,
  servers: { readonly joiner: SupervisedServer; readonly resident: SupervisedServer },
  told: Awaited<ReturnType<typeof playStory>>,
) {
  const [joiner, resident] = [await servers.joiner.up(), await servers.resident.up()];
  const joinerUser = apiOf(joiner.urls.client, told.accessToken);
  const residentUser = apiOf(resident.urls.client, manifest.resident_users[0]?.access_token);
  const admin = apiOf(joiner.urls.admin, run.joiner.adminToken);
  const path = `/_joinery/admin/v1/rooms/${encodeURIComponent(manifest.room_id)}`;
  const { refusals } = (await admin.get(`${path}/refusals`)).json as { refusals: RefusalFigures[] };
  const resync = (await admin.get(`${path}/resync`)).json as ResyncFigures;
  const checked = await checkOutcome(room.folder, manifest, {
    joinerUser,
    residentUser,
    joinerUserId: told.userId,
    refusals,
  });
  const lost = [
    // What its own users said is there as soon as it is up.
    ...(await missingMessages(joinerUser, manifest.room_id, told.own, 0)),
    ...(await missingMessages(joinerUser, manifest.room_id, told.others, DELIVERY_MS_MAX)),
  ];
  const said = [...told.own, ...told.others];
  const unheard = await missingMessages(residentUser, manifest.room_id, said, DELIVERY_MS_MAX);
  return {
    resync,
    lost,
    stateHash: checked.stateHash,
    stateMatches: checked.stateMatchesManifest && checked.stateMatchesResident,
    refusalsMatch: checked.refusalsMatch,
    differences: [
      ...checked.differences,
      ...(resync.residency === 'full-state' ? [] : [`the room is ${resync.residency}`]),
      ...lost.map((id) => `the message ${id} was answered and the joiner has not got it`),
      ...unheard.map((id) => `the message ${id} was answered and the resident has not got it`),
    ],
  };
}

/** Events with a body in a folder that no process has open. */
function storedEvents(folder: ServerFolder): number {
  const reader = openStoreReader(storePath(join(folder.dir, 'data')));
  try {
    let count = 0;
    for (const _ of reader.tables.event_body_by_nid.getKeys({})) count += 1;
    return count;
  } finally {
    void reader.close();
  }
}
