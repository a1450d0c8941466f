/**
 * A user of the joiner who sends messages into another room while the large one is joined and fetched: how long the answers
 * take, and whether every message that was answered is there afterwards.
 *
 * Few on purpose, one a second and a hundred at most: their CPU counts for the joiner's, some 2 ms of a second's 2,000.
 */

import type { Api } from '../api-client.js';

const SEND_EVERY_MS = 1_000;
/** After the join's answer: the first moment belongs to the user who joined. */
const FIRST_AFTER_MS = 250;
/** As many as one sync shows, so that all of them can be looked for. */
const SENDS_MAX = 100;

export interface OtherRoomFigures {
  readonly sends: number;
  /** From request to answer in milliseconds; null without sends. */
  readonly p50_ms: number | null;
  readonly p99_ms: number | null;
  /** Messages that were answered and are not in the room, or not in their order. */
  readonly lost: readonly string[];
}

export interface OtherRoomSends {
  /** Sends from now on. */
  start(): void;
  /** Sends no more; resolves when the last is answered. Throws what a send threw. */
  stop(): Promise<void>;
  /** To be called after `stop`, and outside of the measured time. */
  figures(): Promise<OtherRoomFigures>;
}

/** Prepares to send as `user` into a room. */
export async function otherRoomSends(user: Api, roomId: string): Promise<OtherRoomSends> {
  const since = await nextBatch(user);
  const eventIds: string[] = [];
  const answersMs: number[] = [];
  let wake: () => void = () => undefined;
  let stopped = false;
  let sending: Promise<void> | undefined;
  const pause = (ms: number): Promise<void> =>
    new Promise((resolve) => {
      const timer = setTimeout(resolve, ms);
      wake = () => {
        clearTimeout(timer);
        resolve();
      };
    });
  const sendAll = async (): Promise<void> => {
    await pause(FIRST_AFTER_MS);
    while (!stopped && eventIds.length < SENDS_MAX) {
      const startMs = performance.now();
      const path = `/_matrix/client/v3/rooms/${encodeURIComponent(roomId)}/send/m.room.message/other${eventIds.length}`;
      const answer = await user.put(path, { msgtype: 'm.text', body: `Is everybody well? ${eventIds.length}` });
      answersMs.push(answer.completeAtMs - startMs);
      eventIds.push((answer.json as { event_id: string }).event_id);
      if (!stopped) await pause(Math.max(0, SEND_EVERY_MS - (performance.now() - startMs)));
    }
  };
  return {
    start: () => {
      sending = sendAll();
      // A failure surfaces in stop(); until then nobody else would handle it.
      sending.catch(() => undefined);
    },
    stop: async () => {
      stopped = true;
      wake();
      await sending;
    },
    figures: async () => {
      const found = await messagesSince(user, roomId, since);
      return {
        sends: eventIds.length,
        p50_ms: percentile(answersMs, 0.5),
        p99_ms: percentile(answersMs, 0.99),
        lost: eventIds.filter((eventId, i) => found[i] !== eventId),
      };
    },
  };
}

/** The smallest value that so large a share of all does not exceed. */
export function percentile(values: readonly number[], share: number): number | null {
  const sorted = [...values].sort((a, b) => a - b);
  return sorted[Math.max(0, Math.ceil(share * sorted.length) - 1)] ?? null;
}

const FILTER = encodeURIComponent(JSON.stringify({ room: { timeline: { limit: SENDS_MAX } } }));

async function nextBatch(user: Api): Promise<string> {
  const answer = await user.get(`/_matrix/client/v3/sync?filter=${FILTER}&timeout=0`);
  return (answer.json as { next_batch: string }).next_batch;
}

interface SyncAnswer {
  readonly rooms?: {
    readonly join?: Readonly<
      Record<string, { readonly timeline: { readonly events: readonly { readonly event_id: string }[] } }>
    >;
  };
}

async function messagesSince(user: Api, roomId: string, since: string): Promise<string[]> {
  const path = `/_matrix/client/v3/sync?filter=${FILTER}&since=${encodeURIComponent(since)}&timeout=0`;
  const { rooms } = (await user.get(path)).json as SyncAnswer;
  return (rooms?.join?.[roomId]?.timeline.events ?? []).map(({ event_id }) => event_id);
}
