/**
 * A server that is started again when it was killed: what an operator's supervisor does. It is killed once at most, at its
 * crash point or from outside, and must have said so; any other end is an error.
 */

import type { ServerFolder } from '../run-folders.js';
import { type ServerProcess, ServerProcessError, startServer } from '../server-process.js';

export class SupervisedServer {
  readonly #folder: ServerFolder;
  #server: Promise<ServerProcess>;
  #stopped = false;
  readonly #points: (readonly string[])[] = [];
  lives = 0;
  /** Called between the end of a process and the start of the next. */
  onKilled: () => Promise<void> = async () => undefined;

  constructor(folder: ServerFolder, crashAt: string | undefined) {
    this.#folder = folder;
    this.#server = this.#start(crashAt);
    // Whoever waits for it is told.
    this.#server.catch(() => undefined);
  }

  /** Crash points reached or passed so far, by all its processes. */
  get points(): readonly string[] {
    return this.#points.flat();
  }

  /** The process that runs, or the one that is being started. */
  up(): Promise<ServerProcess> {
    return this.#server;
  }

  /** Kills the process; it is started again. */
  async kill(): Promise<void> {
    await (await this.#server).kill();
  }

  /** Ends the process for good. */
  async stop(): Promise<void> {
    this.#stopped = true;
    await (await this.#server).stop();
  }

  async #start(crashAt: string | undefined): Promise<ServerProcess> {
    const server = await startServer(this.#folder, { crashAt });
    this.lives += 1;
    this.#points.push(server.points);
    void server.ended.then((how) => {
      if (this.#stopped) return;
      this.#server =
        how === 'SIGKILL'
          ? this.#again()
          : Promise.reject(new ServerProcessError(`${this.#folder.serverName} ended: ${how}`));
      this.#server.catch(() => undefined);
    });
    return server;
  }

  async #again(): Promise<ServerProcess> {
    await this.onKilled();
    return await this.#start(undefined);
  }
}
