/** Tokens of `/sync` and of a room's timeline: positions of the stream. Specification v1.19, client-server API, "Syncing". */

/** Token of a position. */
export function syncToken(position: number): string {
  return `s${position}`;
}

/** Position of a token, or undefined when it is not one of ours. */
export function parseSyncToken(token: string): number | undefined {
  const match = /^s(\d{1,15})$/.exec(token);
  return match === null ? undefined : Number(match[1]);
}
