/**
 * A thread that builds shards of one room: gets a shard's index, answers with the built shard, its buffers moved.
 * The spine is made once per thread.
 */

import { parentPort, workerData } from 'node:worker_threads';
import { type RoomRecipe, roomShape } from '../plan/room-shape.js';
import { buildShard } from './build-shard.js';
import { buildSpine } from './build-spine.js';
import { packBuffers } from './event-pack.js';

const shape = roomShape(workerData as RoomRecipe);
const spine = buildSpine(shape);

parentPort?.on('message', (index: number) => {
  const shard = buildShard(shape, spine, index);
  parentPort?.postMessage(shard, packBuffers(shard.pack));
});
