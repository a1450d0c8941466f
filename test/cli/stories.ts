/** Rooms for `check-auth` and `resolve`, as someone would write them by hand: IDs that can be read, nothing signed. */

export interface StoryEvent {
  readonly event_id: string;
  readonly type: string;
  readonly [member: string]: unknown;
}

export const ALICE = '@alice:a.test';
export const BOB = '@bob:b.test';
export const CAROL = '@carol:c.test';

export interface Story {
  readonly roomId: string;
  /** Create, Alice's join, power levels, public join rules. */
  readonly events: readonly StoryEvent[];
  /** The auth events of whoever joins now. */
  readonly auth: readonly string[];
  /** The ID with that label. */
  id(label: string): string;
}

/** A room of that version that Alice has made. */
export function room(version: string): Story {
  const isNamedByCreate = version === '12';
  const hasDomains = ['1', '2'].includes(version);
  const roomId = isNamedByCreate ? '!create' : '!room:a.test';
  const id = (label: string) => `$${label}${hasDomains ? ':a.test' : ''}`;
  const create = isNamedByCreate ? [] : [id('create')];
  const withAlice = [...create, id('join-alice')];
  const withLevels = [...withAlice, id('levels')];
  const at = { roomId };
  const users = isNamedByCreate ? {} : { [ALICE]: 100 };
  const events = [
    state(id('create'), ALICE, 'm.room.create', { creator: ALICE, room_version: version }, [], {
      ...(isNamedByCreate ? {} : at),
      depth: 0,
    }),
    { ...member(id('join-alice'), ALICE, 'join', create, at), prev_events: [id('create')] },
    state(id('levels'), ALICE, 'm.room.power_levels', { users }, withAlice, at),
    state(id('rules'), ALICE, 'm.room.join_rules', { join_rule: 'public' }, withLevels, at),
  ].map((event) => (hasDomains ? { ...event, prev_events: pairs(event.prev_events as string[] | undefined) } : event));
  return { roomId, events, auth: [...create, id('levels'), id('rules')], id };
}

function pairs(ids: readonly string[] = []): unknown[] {
  return ids.map((id) => [id, {}]);
}

export interface Where {
  /** Undefined: left out. */
  readonly roomId?: string;
  readonly ts?: number;
  readonly depth?: number;
}

export function state(
  event_id: string,
  sender: string,
  type: string,
  content: object,
  auth_events: readonly string[],
  where: Where = { roomId: '!room:a.test' },
): StoryEvent {
  return {
    event_id,
    type,
    state_key: '',
    sender,
    content,
    auth_events,
    ...(where.roomId === undefined ? {} : { room_id: where.roomId }),
    ...(where.depth === undefined ? {} : { depth: where.depth }),
    ...(where.ts === undefined ? {} : { origin_server_ts: where.ts }),
  };
}

/** A membership of the sender. */
export function member(
  eventId: string,
  sender: string,
  membership: string,
  auth: readonly string[],
  where?: Where,
  target = sender,
): StoryEvent {
  return { ...state(eventId, sender, 'm.room.member', { membership }, auth, where), state_key: target };
}

export function topic(eventId: string, sender: string, auth: readonly string[], where?: Where): StoryEvent {
  return state(eventId, sender, 'm.room.topic', { topic: eventId }, auth, where);
}
