/**
 * Rehearsal rooms on disk: built once per recipe and builder, into a folder with another name that gets its own when it
 * is complete, then copied for each run. What is half built is never found.
 */

import { constants } from 'node:fs';
import { access, cp, mkdir, mkdtemp, open, readdir, rename, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { type RoomRecipe, recipeKey, roomShape } from './plan/room-shape.js';
import { writeDataFolder } from './write-data-folder.js';

export interface CachedRoom {
  /** Holds `data` and the manifest; never to be changed. */
  readonly folder: string;
  readonly built: boolean;
}

const DATA = 'data';

/** The room of a recipe, built when it is not there yet. Throws RecipeError. */
export async function cachedRoom(
  cacheDir: string,
  recipe: RoomRecipe,
  threads: number,
  onProgress: (events: number) => void,
): Promise<CachedRoom> {
  const shape = roomShape(recipe);
  const folder = join(cacheDir, recipeKey(recipe));
  if (await exists(join(folder, DATA))) return { folder, built: false };
  await mkdir(cacheDir, { recursive: true });
  const unfinished = await mkdtemp(join(cacheDir, 'building-'));
  try {
    await writeDataFolder(shape, { dataDir: join(unfinished, DATA), folder: unfinished, threads, onProgress });
    await rm(folder, { recursive: true, force: true });
    await rename(unfinished, folder);
  } catch (error) {
    await rm(unfinished, { recursive: true, force: true });
    throw error;
  }
  return { folder, built: true };
}

async function exists(path: string): Promise<boolean> {
  return access(path).then(
    () => true,
    () => false,
  );
}

/** Copies a cached room's data folder for one run; the file system shares the blocks where it can. */
export async function copyDataFolder(room: CachedRoom, dataDir: string): Promise<void> {
  await cp(join(room.folder, DATA), dataDir, { recursive: true, mode: constants.COPYFILE_FICLONE });
  // On the disk before a clock starts: a gigabyte that is still to be written would hold up the servers' own small writes.
  for (const entry of await readdir(dataDir, { recursive: true, withFileTypes: true })) {
    if (!entry.isFile()) continue;
    const file = await open(join(entry.parentPath, entry.name), 'r+');
    await file.sync().finally(() => file.close());
  }
}
