/**
 * `npm run hq`: builds (or finds) the rehearsal room, serves it with one joinery process, joins it with another, and says
 * how long that took and whether the outcome is right. Exit code 0 only if all holds.
 *
 * Guards: whatever happens, both processes are ended and the run's folder is removed (unless --keep).
 */

import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { availableParallelism, tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { closeConnections } from './api-client.js';
import { checkOutcome, type Outcome, outcomeText } from './check-outcome.js';
import { runCrashes } from './crash/run-crashes.js';
import { prepareProfileDir, profileRows, profileTable, readProfiles } from './measure/profile.js';
import { cpuBetween, makeReport, tableOf } from './measure/report.js';
import { verifyOnly } from './measure/verify-only.js';
import { HELP, type HqOptions, OptionError, parseOptions } from './options.js';
import { startOriginSink } from './origin-sink.js';
import { type Manifest, readManifest } from './room/manifest.js';
import { RecipeError } from './room/plan/room-shape.js';
import { type CachedRoom, cachedRoom } from './room/room-cache.js';
import { prepareRun, type RunFolders } from './run-folders.js';
import { type JoinFigures, type JoinOptions, runJoin } from './run-join.js';
import { type ServerProcess, startServer } from './server-process.js';
import { showBuild } from './show-progress.js';

const EXIT_FAILED = 1;
const EXIT_WRONG_USE = 2;
/** What a shell gives for SIGINT. */
const EXIT_INTERRUPTED = 130;
/** From dist/scripts/hq to the repository. */
const CACHE_DIR = fileURLToPath(new URL('../../../.cache/hq', import.meta.url));
/** Fetching and checking a million events took a fraction of this on one core. */
const RUN_TIMEOUT_MS = 60 * 60_000;

/** What has to be undone, last first, each once: also after a failure and on Ctrl-C. */
class Cleanup {
  readonly #steps: (() => Promise<void>)[] = [];

  add(step: () => Promise<void>): void {
    this.#steps.push(step);
  }

  /** Runs every step, also after one that failed; throws the first failure. */
  async run(): Promise<void> {
    const failures: unknown[] = [];
    for (let step = this.#steps.pop(); step !== undefined; step = this.#steps.pop()) {
      await step().catch((error: unknown) => failures.push(error));
    }
    if (failures.length > 0) throw failures[0];
  }
}

interface Joined {
  readonly figures: JoinFigures;
  readonly outcome: Outcome;
}

/** The whole run; whether all holds. `folders` and `servers` take what must be removed and ended. */
async function runHq(options: HqOptions, folders: Cleanup, servers: Cleanup): Promise<boolean> {
  const room = await buildRoom(options);
  const manifest = await readManifest(room.folder);
  print(`room ${manifest.room_id}: ${manifest.events} events, synthetic, room version ${manifest.room_version}`);
  if (options.crash !== undefined) {
    servers.add(closeConnections);
    return await runCrashes(options, options.crash, room, manifest, await runDir(options, folders), print);
  }
  const run = await prepareRun(await runDir(options, folders), room, manifest, options);
  if (options.profileDir !== undefined) await prepareProfileDir(options.profileDir);
  const { figures, outcome } = await joinRoom(run, room, manifest, servers, options);
  // The floor is measured on idle cores, with the resident's store to itself.
  await servers.run();
  const floor = await verifyOnly(run.residentDataDir, manifest, options.threads);
  const report = makeReport(options, manifest, figures, outcome, floor);
  print(`\n${tableOf(report)}`);
  if (options.jsonFile !== undefined) await writeFile(options.jsonFile, `${JSON.stringify(report, null, 2)}\n`);
  if (options.profileDir !== undefined) print(await profileOf(options.profileDir, manifest, figures));
  print(outcomeText(outcome.differences));
  return outcome.differences.length === 0;
}

/** What each stage cost the joiner, from the profiles that its threads left when they ended. */
async function profileOf(
  dir: string,
  manifest: Manifest,
  { joinerBefore, joinerAfter, joinerThreads }: JoinFigures,
): Promise<string> {
  if (joinerThreads === undefined) throw new Error('the threads of a profiled joiner were not counted');
  const [before, after] = joinerThreads;
  const rows = profileRows(await readProfiles(dir), before, after, cpuBetween(joinerBefore, joinerAfter));
  return `${profileTable(rows, manifest.events)}profiles: ${dir}\n`;
}

async function buildRoom(options: HqOptions): Promise<CachedRoom> {
  const startMs = performance.now();
  const progress = showBuild(options.events);
  const room = await cachedRoom(CACHE_DIR, options, availableParallelism(), progress.update).finally(progress.end);
  if (room.built) print(`room built in ${((performance.now() - startMs) / 1000).toFixed(1)} s: ${room.folder}`);
  return room;
}

async function runDir(options: HqOptions, folders: Cleanup): Promise<string> {
  if (options.keepDir !== undefined) {
    await mkdir(options.keepDir).catch((cause: Error) => {
      throw new OptionError(`--keep ${options.keepDir}: ${cause.message}`, { cause });
    });
    return options.keepDir;
  }
  const dir = await mkdtemp(join(tmpdir(), 'joinery-hq-'));
  folders.add(() => rm(dir, { recursive: true, force: true }));
  return dir;
}

async function joinRoom(
  run: RunFolders,
  room: CachedRoom,
  manifest: Manifest,
  servers: Cleanup,
  { full, profileDir }: HqOptions,
): Promise<Joined> {
  servers.add(closeConnections);
  const sink = await startOriginSink(run.sinkPort, run.sinkTls);
  servers.add(sink.close);
  const start = async (folder: RunFolders['joiner'], profileDir?: string): Promise<ServerProcess> => {
    const server = await startServer(folder, { profileDir });
    servers.add(server.stop);
    return server;
  };
  const resident = await start(run.resident);
  const joiner = await start(run.joiner, profileDir);
  const joined = joinAndCheck(joiner, resident, room, manifest, {
    full,
    otherRoom: run.otherRoom,
    countThreads: profileDir !== undefined,
  });
  // When a process dies its requests fail too, later and with less to say.
  joined.catch(() => undefined);
  return await Promise.race([joined, failing(joiner.died), failing(resident.died), deadline()]);
}

async function joinAndCheck(
  joiner: ServerProcess,
  resident: ServerProcess,
  room: CachedRoom,
  manifest: Manifest,
  options: JoinOptions,
): Promise<Joined> {
  const figures = await runJoin(joiner, resident, manifest, options);
  const outcome = await checkOutcome(room.folder, manifest, figures);
  const lost = figures.otherRoom.lost.map((id) => `${id}: sent into the other room, answered, and not there in order`);
  return { figures, outcome: { ...outcome, differences: [...outcome.differences, ...lost] } };
}

async function failing(died: Promise<Error>): Promise<never> {
  throw await died;
}

function deadline(): Promise<never> {
  return new Promise((_resolve, reject) => {
    setTimeout(
      () => reject(new Error(`the run took more than ${RUN_TIMEOUT_MS / 60_000} minutes`)),
      RUN_TIMEOUT_MS,
    ).unref();
  });
}

function print(text: string): void {
  process.stdout.write(`${text}\n`);
}

function isWrongUse(error: unknown): boolean {
  if (error instanceof OptionError || error instanceof RecipeError) return true;
  return error instanceof Error && 'code' in error && String(error.code).startsWith('ERR_PARSE_ARGS_');
}

function report(error: unknown): number {
  process.stderr.write(`hq: ${error instanceof Error ? error.message : String(error)}\n`);
  if (process.env.JOINERY_DEBUG !== undefined && error instanceof Error) process.stderr.write(`${error.stack}\n`);
  return isWrongUse(error) ? EXIT_WRONG_USE : EXIT_FAILED;
}

async function main(argv: readonly string[]): Promise<number> {
  const folders = new Cleanup();
  const servers = new Cleanup();
  let undoing: Promise<void> | undefined;
  // Once, whoever asks first: the end of the run or a signal, which makes the run fail half-way.
  const undo = (): Promise<void> => {
    undoing ??= servers.run().finally(() => folders.run());
    return undoing;
  };
  let interrupted = false;
  const onSignal = (): void => {
    interrupted = true;
    undo().catch(report);
  };
  process.once('SIGINT', onSignal);
  process.once('SIGTERM', onSignal);
  let code = 0;
  try {
    const options = parseOptions(argv);
    if (options.help) print(HELP);
    else code = (await runHq(options, folders, servers)) ? 0 : EXIT_FAILED;
  } catch (error) {
    code = interrupted ? EXIT_INTERRUPTED : report(error);
  }
  await undo().catch((error: unknown) => {
    code = Math.max(code, report(error));
  });
  return interrupted ? EXIT_INTERRUPTED : code;
}

// What still has a timer or a socket open must not keep a finished run from ending.
process.exit(await main(process.argv.slice(2)));
