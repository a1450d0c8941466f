/**
 * What users do while servers are killed: one registers, joins, says something, waits for the members, says something
 * more; one of the resident's answers at once and at the end. A request that a crash left without an answer is made again,
 * as clients do; what was answered must hold.
 */

import { type Api, type ApiAnswer, ApiError, apiOf } from '../api-client.js';
import type { ServerProcess } from '../server-process.js';
import type { SupervisedServer } from './supervised-server.js';

/** Before a request is made again that failed, and between two looks at a timeline. */
const RETRY_MS = 300;
/** The longest of the server's own suggestions that is waited for: somebody is watching. */
const RETRY_MS_MAX = 1_000;
const PASSWORD = 'only for this run';
const USER = 'rehearsal';

export interface Told {
  readonly userId: string;
  readonly accessToken: string;
  /** Event IDs of the messages that were answered: of the joiner's user, and of the resident's. */
  readonly own: readonly string[];
  readonly others: readonly string[];
}

/** A server, and what its user or operator needs there. */
export interface StoryServer {
  readonly server: SupervisedServer;
  readonly token: string;
}

/** Plays the story to its end. While the server says that it cannot tell now, its operator has it try again at once. */
export async function playStory(
  { server: joiner, token: adminToken }: StoryServer,
  { server: resident, token: residentToken }: StoryServer,
  roomId: string,
  via: string,
): Promise<Told> {
  const session = await persistently(async () => signIn((await joiner.up()).urls.client));
  const room = encodeURIComponent(roomId);
  const ask = <T>(request: (api: Api) => Promise<T>): Promise<T> =>
    persistently(async () => request(apiOf((await joiner.up()).urls.client, session.accessToken)));
  await ask((api) => api.post(`/_matrix/client/v3/join/${room}?server_name=${via}&via=${via}`, {}));
  const [own, others]: [string[], string[]] = [[], []];
  const askResident: typeof ask = (request) =>
    persistently(async () => request(apiOf((await resident.up()).urls.client, residentToken)));
  const say = async (body: string, by = ask, said = own): Promise<void> => {
    const path = `/_matrix/client/v3/rooms/${room}/send/m.room.message/${encodeURIComponent(body)}`;
    const { json } = await by((api) => api.put(path, { msgtype: 'm.text', body }));
    said.push((json as { event_id: string }).event_id);
  };
  await say('at-once');
  await say('welcome', askResident, others);
  await say('at-once-again');
  await ask(async (api) => {
    try {
      await api.get(`/_matrix/client/v3/rooms/${room}/members`);
    } catch (error) {
      if (error instanceof ApiError && error.status === 503) await hurry(await joiner.up(), adminToken, room);
      throw error;
    }
  });
  await say('complete');
  await say('welcome-again', askResident, others);
  return { ...session, own, others };
}

/** Ends the back-off of the room's resync, which began because a server was killed. */
async function hurry({ urls }: ServerProcess, adminToken: string, room: string): Promise<void> {
  try {
    await apiOf(urls.admin, adminToken).post(`/_joinery/admin/v1/rooms/${room}/resync`, {});
  } catch (error) {
    // 400: it is complete since.
    if (!(error instanceof ApiError) || error.status !== 400) throw error;
  }
}

async function signIn(url: string): Promise<{ userId: string; accessToken: string }> {
  const api = apiOf(url);
  let answer: ApiAnswer;
  try {
    const auth = { type: 'm.login.dummy' };
    answer = await api.post('/_matrix/client/v3/register', { auth, username: USER, password: PASSWORD });
  } catch (error) {
    // A crash took the answer of the registration that made the user.
    if (!(error instanceof ApiError) || !error.message.includes('M_USER_IN_USE')) throw error;
    const identifier = { type: 'm.id.user', user: USER };
    answer = await api.post('/_matrix/client/v3/login', { type: 'm.login.password', identifier, password: PASSWORD });
  }
  const { user_id, access_token } = answer.json as { user_id: string; access_token: string };
  return { userId: user_id, accessToken: access_token };
}

/** Makes a request until it is answered: again after a lost connection, and where the server cannot tell or fetch now. */
export async function persistently<T>(request: () => Promise<T>): Promise<T> {
  for (;;) {
    try {
      return await request();
    } catch (error) {
      if (!isPassing(error)) throw error;
      const wait = error instanceof ApiError ? (error.retryAfterMs ?? RETRY_MS) : RETRY_MS;
      await sleep(Math.min(wait, RETRY_MS_MAX));
    }
  }
}

function isPassing(error: unknown): boolean {
  if (error instanceof ApiError) return error.status >= 500 || error.status === 429;
  const cause = error instanceof Error ? (error.cause ?? error) : error;
  const code = cause instanceof Error && 'code' in cause ? String(cause.code) : '';
  return ['ECONNREFUSED', 'ECONNRESET', 'EPIPE', 'UND_ERR_SOCKET'].includes(code);
}

/** Waits until all messages are in the timeline that a user sees, at most `waitMs`; the ones that are not. */
export async function missingMessages(
  user: Api,
  roomId: string,
  messages: readonly string[],
  waitMs: number,
): Promise<string[]> {
  const filter = JSON.stringify({ room: { state: { lazy_load_members: true }, timeline: { limit: 50 } } });
  const end = performance.now() + waitMs;
  for (;;) {
    const { json } = await user.get(`/_matrix/client/v3/sync?timeout=0&filter=${encodeURIComponent(filter)}`);
    const joined = (json as { rooms?: { join?: Record<string, { timeline: { events: { event_id: string }[] } }> } })
      .rooms?.join;
    const seen = new Set(joined?.[roomId]?.timeline.events.map(({ event_id }) => event_id));
    const missing = messages.filter((id) => !seen.has(id));
    if (missing.length === 0 || performance.now() > end) return missing;
    await sleep(RETRY_MS);
  }
}

function sleep(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}
