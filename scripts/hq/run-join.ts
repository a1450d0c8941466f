/**
 * The join itself, as a user of the joiner makes it: join, say something, and ask for the members, while the clock runs.
 * Measures from outside what a client sees, and reads the processes' own figures before and after.
 */

import type { ProcessFigures, RefusalFigures, ResyncFigures } from './admin-shapes.js';
import { type Api, type ApiAnswer, ApiError, apiOf } from './api-client.js';
import { type OtherRoomFigures, otherRoomSends } from './measure/other-room-sends.js';
import { type CpuSnapshot, snapshotCpu } from './measure/thread-cpu.js';
import type { Manifest } from './room/manifest.js';
import type { OtherRoom } from './room/other-room.js';
import type { ServerProcess } from './server-process.js';
import { showStages } from './show-progress.js';

/** How often the joiner is asked how far it is. */
const POLL_MS = 200;
/** How long one sync request of the resident's user waits. */
const SYNC_TIMEOUT_MS = 30_000;
/** When `/members` says that it cannot tell now and gives no time to wait. */
const RETRY_MS = 1_000;

const LAZY_FILTER = JSON.stringify({
  presence: { types: [] },
  room: { state: { lazy_load_members: true }, timeline: { limit: 10 } },
});

export interface JoinFigures {
  readonly join_ms: number;
  readonly usable_ms: number;
  /** From the join's answer to `/members` answering with its headers, and with all of its body. */
  readonly resync_ms: number;
  readonly members_complete_ms: number;
  readonly joinerBefore: ProcessFigures;
  readonly joinerAfter: ProcessFigures;
  readonly residentBefore: ProcessFigures;
  readonly residentAfter: ProcessFigures;
  /** The joiner's threads at the moments of `joinerBefore` and `joinerAfter`, where they were asked for. */
  readonly joinerThreads: readonly [before: CpuSnapshot, after: CpuSnapshot] | undefined;
  readonly resync: ResyncFigures | undefined;
  readonly refusals: readonly RefusalFigures[];
  readonly otherRoom: OtherRoomFigures;
  /** Who joined. */
  readonly joinerUserId: string;
  /** APIs to look at the outcome with. */
  readonly joinerUser: Api;
  readonly residentUser: Api;
}

export interface JoinOptions {
  /** Whether the joiner asks for full state before it answers. */
  readonly full: boolean;
  readonly otherRoom: OtherRoom;
  /** Whether to look at what each thread of the joiner costs. */
  readonly countThreads: boolean;
}

/** Joins the room. Throws ApiError when a request fails. */
export async function runJoin(
  joiner: ServerProcess,
  resident: ServerProcess,
  manifest: Manifest,
  { full, otherRoom, countThreads }: JoinOptions,
): Promise<JoinFigures> {
  const roomId = encodeURIComponent(manifest.room_id);
  const joinerAdmin = apiOf(joiner.urls.admin, joiner.folder.adminToken);
  const residentAdmin = apiOf(resident.urls.admin, resident.folder.adminToken);
  const residentUser = apiOf(resident.urls.client, manifest.resident_users[0]?.access_token);
  const user = await register(joiner);
  const joinerUser = apiOf(joiner.urls.client, user.accessToken);
  const since = await syncToken(residentUser);
  const others = await otherRoomSends(apiOf(joiner.urls.client, otherRoom.accessToken), otherRoom.roomId);

  const figuresOf = async (admin: Api): Promise<ProcessFigures> => {
    return (await admin.get('/_joinery/admin/v1/process')).json as ProcessFigures;
  };
  const residentBefore = await figuresOf(residentAdmin);
  const joinerBefore = await figuresOf(joinerAdmin);
  const threadsBefore = countThreads ? snapshotCpu(joinerBefore.pid) : undefined;
  const watch = watchResync(joinerAdmin, roomId);
  try {
    const startMs = performance.now();
    if (full) others.start();
    const via = encodeURIComponent(manifest.resident);
    const joined = await joinerUser.post(`/_matrix/client/v3/join/${roomId}?server_name=${via}&via=${via}`, {});
    const joinedAtMs = joined.completeAtMs;
    if (!full) others.start();
    const members = untilAnswered(joinerUser, `/_matrix/client/v3/rooms/${roomId}/members`);
    const seen = sayAndSee(joinerUser, residentUser, manifest.room_id, since);
    const [answer, seenAtMs] = await Promise.all([members, seen]);
    await others.stop();
    const joinerAfter = await figuresOf(joinerAdmin);
    const joinerThreads =
      threadsBefore === undefined ? undefined : ([threadsBefore, snapshotCpu(joinerAfter.pid)] as const);
    const residentAfter = await figuresOf(residentAdmin);
    const refusals = await joinerAdmin.get(`/_joinery/admin/v1/rooms/${roomId}/refusals`);
    return {
      join_ms: joinedAtMs - startMs,
      usable_ms: seenAtMs - startMs,
      resync_ms: answer.headersAtMs - joinedAtMs,
      members_complete_ms: answer.completeAtMs - joinedAtMs,
      joinerBefore,
      joinerAfter,
      residentBefore,
      residentAfter,
      joinerThreads,
      resync: await watch.last(),
      refusals: (refusals.json as { refusals: RefusalFigures[] }).refusals,
      otherRoom: await others.figures(),
      joinerUserId: user.userId,
      joinerUser,
      residentUser,
    };
  } finally {
    watch.stop();
    // After a failure it still sends; what it throws then is not the reason.
    await others.stop().catch(() => undefined);
  }
}

async function register(joiner: ServerProcess): Promise<{ userId: string; accessToken: string }> {
  const answer = await apiOf(joiner.urls.client).post('/_matrix/client/v3/register', {
    auth: { type: 'm.login.dummy' },
    username: 'rehearsal',
    password: 'only for this run',
  });
  const { user_id, access_token } = answer.json as { user_id: string; access_token: string };
  return { userId: user_id, accessToken: access_token };
}

async function syncToken(user: Api): Promise<string> {
  const answer = await user.get(`/_matrix/client/v3/sync?filter=${encodeURIComponent(LAZY_FILTER)}&timeout=0`);
  return (answer.json as { next_batch: string }).next_batch;
}

interface SyncAnswer {
  readonly next_batch: string;
  readonly rooms?: {
    readonly join?: Readonly<
      Record<string, { readonly timeline?: { readonly events?: readonly { event_id: string }[] } }>
    >;
  };
}

/** Sends a message from the joiner; the time at which the resident's user has received it. */
async function sayAndSee(joiner: Api, resident: Api, roomId: string, since: string): Promise<number> {
  const path = `/_matrix/client/v3/rooms/${encodeURIComponent(roomId)}/send/m.room.message/hq1`;
  const sent = joiner.put(path, { msgtype: 'm.text', body: 'Hello, I just joined.' });
  // A failure surfaces below, where it is awaited; until then nobody else would handle it.
  sent.catch(() => undefined);
  const seenIds = new Map<string, number>();
  for (let token = since; ; ) {
    const filter = encodeURIComponent(LAZY_FILTER);
    const path = `/_matrix/client/v3/sync?filter=${filter}&since=${encodeURIComponent(token)}&timeout=${SYNC_TIMEOUT_MS}`;
    const { json, completeAtMs } = await resident.get(path);
    const answer = json as SyncAnswer;
    for (const event of answer.rooms?.join?.[roomId]?.timeline?.events ?? []) {
      seenIds.set(event.event_id, completeAtMs);
    }
    const { event_id } = (await sent).json as { event_id: string };
    const seenAtMs = seenIds.get(event_id);
    if (seenAtMs !== undefined) return seenAtMs;
    token = answer.next_batch;
  }
}

/** Asks again as long as the server says that it cannot tell for now. */
async function untilAnswered(api: Api, path: string): Promise<ApiAnswer> {
  for (;;) {
    try {
      return await api.get(path);
    } catch (error) {
      if (!(error instanceof ApiError) || error.status !== 503) throw error;
      await new Promise((resolve) => setTimeout(resolve, error.retryAfterMs ?? RETRY_MS));
    }
  }
}

interface ResyncWatch {
  stop(): void;
  /** The newest figures; undefined where the joiner has none, as after a full join. */
  last(): Promise<ResyncFigures | undefined>;
}

function watchResync(admin: Api, roomId: string): ResyncWatch {
  const progress = showStages();
  let stopped = false;
  const ask = async (): Promise<ResyncFigures | undefined> => {
    try {
      const figures = (await admin.get(`/_joinery/admin/v1/rooms/${roomId}/resync`)).json as ResyncFigures;
      if (!stopped) progress.update(figures.stages);
      return figures;
    } catch (error) {
      // 404: the room is not known yet, or was joined in full. Any other failure will show in the join itself.
      if (error instanceof ApiError && error.status === 404) return undefined;
      if (stopped) return undefined;
      throw error;
    }
  };
  const poll = async (): Promise<void> => {
    while (!stopped) {
      await ask().catch((error: unknown) => {
        if (!stopped) process.stderr.write(`progress: ${error instanceof Error ? error.message : error}\n`);
      });
      await new Promise((resolve) => setTimeout(resolve, POLL_MS));
    }
  };
  void poll();
  return {
    stop: () => {
      if (!stopped) progress.end();
      stopped = true;
    },
    last: ask,
  };
}
