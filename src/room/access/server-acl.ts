/**
 * Server ACLs: which servers a room lets take part over the network. They say nothing about events: what a denied server
 * made and another one passes on is judged like any event.
 * Specification v1.19, client-server API, "Server Access Control Lists (ACLs) for rooms"; server-server API, "Server
 * Access Control Lists (ACLs)".
 */

import type { ServerName } from '../../kernel/matrix/ids.js';
import type { JsonObject, JsonValue } from '../../kernel/matrix/json.js';
import { splitServerName } from '../../remote/discovery/split-server-name.js';
import type { StoreReader } from '../../store/open-store.js';
import type { Room } from '../../store/rooms.js';
import { storedState } from '../room-state.js';

/** Whether the room's current state lets a server take part. While it is partial too: ACLs are no memberships. */
export function isServerAllowed(reader: StoreReader, room: Room, server: ServerName): boolean {
  const acl = storedState(reader, room, room.currentGroup)('m.room.server_acl', '');
  return acl === undefined || aclAllows(acl.content, server);
}

/** What the content of an `m.room.server_acl` event says of a server. */
export function aclAllows(content: JsonObject, server: ServerName): boolean {
  const parts = splitServerName(server);
  if (content.allow_ip_literals === false && (parts === undefined || parts.isIpLiteral)) return false;
  // Ports do not count; an IPv6 address keeps its brackets.
  const host = server.replace(/:[0-9]+$/, '').toLowerCase();
  const named = (list: JsonValue | undefined) =>
    Array.isArray(list) &&
    (list as readonly JsonValue[]).some((glob) => typeof glob === 'string' && globMatches(glob.toLowerCase(), host));
  return !named(content.deny) && named(content.allow);
}

/**
 * Whether a glob (`*`: any characters, `?`: any one) matches the whole text. By hand, because a pattern of many stars
 * that comes from the wire would bring a regular expression to a standstill: this is at worst their product in length.
 */
export function globMatches(glob: string, text: string): boolean {
  let at = 0;
  let inGlob = 0;
  /** After the last star: where it stands in the glob, and where in the text it ends for now. */
  let star = -1;
  let starEnd = 0;
  while (at < text.length) {
    if (inGlob < glob.length && glob[inGlob] === '*') {
      star = inGlob++;
      starEnd = at;
    } else if (inGlob < glob.length && (glob[inGlob] === '?' || glob[inGlob] === text[at])) {
      inGlob += 1;
      at += 1;
    } else if (star >= 0) {
      inGlob = star + 1;
      starEnd += 1;
      at = starEnd;
    } else {
      return false;
    }
  }
  while (glob[inGlob] === '*') inGlob += 1;
  return inGlob === glob.length;
}
