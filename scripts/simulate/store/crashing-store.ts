/**
 * A server's store whose process dies at a chosen write: before its commit or just after it, and where the machine lost
 * power, without the background writes since the last durable one; and whose disk may be full. Everything else is the real
 * store in a real folder.
 *
 * Background writes commit after a short virtual time, in order, on this thread: lmdb's own thread would make the order
 * of events a matter of luck.
 */

import { copyFileSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import type { EventNid } from '../../../src/store/nids.js';
import type { Store, StoreWriter } from '../../../src/store/open-store.js';
import { openStore } from '../../../src/store/open-store.js';
import type { Life, VirtualTime } from '../virtual-time.js';

/** Longest wait of a background write, in milliseconds. */
const BACKGROUND_MS_MAX = 5;

/** When a server dies. */
export interface CrashPlan {
  /** At this store write, counted from 1 from the planning on: from the start of a life, or in the middle of one. */
  readonly atWrite: number;
  readonly when: 'before-commit' | 'after-commit';
  /** What was written in the background and not made durable is lost. */
  readonly losesBackground: boolean;
}

/** Thrown in the middle of a write: the process is no more. */
export class Crash extends Error {
  override readonly name = 'Crash';
}

export interface CrashingStoreOptions {
  readonly dataDir: string;
  readonly serverName: string;
  readonly time: VirtualTime;
  readonly life: Life;
  readonly random: () => number;
  readonly plan: CrashPlan | undefined;
  readonly onCrash: () => void;
  /** Called at the end of each transaction, which is undone when it throws. */
  readonly takeWrite: () => void;
  /** Told of each event that is put into the timeline, once its write is committed. */
  readonly onPersisted: (event: EventNid) => void;
}

export interface CrashingStore extends Store {
  readonly writes: () => number;
  /** Plans how this life ends; undefined: not by a crash. */
  planCrash(plan: CrashPlan | undefined): void;
  /** Neither counts writes nor crashes while something goes on that is not of the story. */
  spare<T>(act: () => Promise<T>): Promise<T>;
  /** Closes the files of a life that has ended, as the operating system does, and loses what was to be lost. */
  bury(): Promise<void>;
}

export function openCrashingStore(options: CrashingStoreOptions): CrashingStore {
  const { time, life, random } = options;
  const real = openStore(options.dataDir, options.serverName);
  const data = join(real.path, 'data.mdb');
  const durable = join(options.dataDir, 'durable.mdb');
  let writes = 0;
  let spares = 0;
  let { plan } = options;
  let persisted: EventNid[] = [];
  let losable = false;
  let tail: Promise<unknown> = Promise.resolve();
  const { event_context_by_nid: contexts, event_prevs_by_nid: prevs } = real.tables as StoreWriter['tables'];
  /** The event whose prev_events were written last: with its context next it is in the timeline. */
  let placed: unknown;
  const watched = (writer: StoreWriter): StoreWriter => ({
    tables: {
      ...writer.tables,
      event_prevs_by_nid: {
        ...prevs,
        put: (event, value) => {
          placed = event;
          prevs.put(event, value);
        },
      },
      event_context_by_nid: {
        ...contexts,
        put: (event, value) => {
          if (event === placed) persisted.push(event as EventNid);
          placed = undefined;
          contexts.put(event, value);
        },
      },
    },
  });
  const die = (): never => {
    life.dead = true;
    options.onCrash();
    throw new Crash(`${life.name} crashes at write ${writes}`);
  };
  const alive = (): void => {
    if (life.dead) throw new Crash(`${life.name} is dead`);
  };
  function commit<T>(change: (writer: StoreWriter) => T, isDurable: boolean): T {
    alive();
    if (spares === 0) writes += 1;
    persisted = [];
    placed = undefined;
    const dies = spares === 0 && plan?.atWrite === writes;
    const result = real.write((writer) => {
      const changed = change(watched(writer));
      if (dies && plan?.when === 'before-commit') die();
      options.takeWrite();
      return changed;
    });
    if (isDurable) losable = false;
    for (const event of persisted) options.onPersisted(event);
    if (dies) die();
    return result;
  }
  return {
    path: real.path,
    get tables() {
      alive();
      return real.tables;
    },
    write: (change) => commit(change, true),
    writeInBackground: async (change) => {
      const before = tail;
      const committed = (async () => {
        await before.catch(() => undefined);
        await time.sleep(Math.floor(random() * BACKGROUND_MS_MAX));
        if (!losable && plan?.losesBackground === true) {
          losable = true;
          copyFileSync(data, durable);
        }
        return commit(change, false);
      })();
      tail = committed;
      return committed;
    },
    refresh: () => {
      if (!life.dead) real.refresh();
    },
    close: () => real.close(),
    writes: () => writes,
    planCrash: (next) => {
      plan = next && { ...next, atWrite: next.atWrite + writes };
    },
    spare: async (act) => {
      spares += 1;
      try {
        return await act();
      } finally {
        spares -= 1;
      }
    },
    bury: async () => {
      await real.close();
      if (!losable) return;
      // A file of its own: what the closed environment may still write goes to the one that it had open.
      rmSync(data);
      copyFileSync(durable, data);
      rmSync(join(real.path, 'lock.mdb'), { force: true });
    },
  };
}
