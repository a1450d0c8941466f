/**
 * Judges events against their own auth events, and hands rejections on: in topological order of auth_events (never of
 * `depth`, which senders choose), so that an event's auth events have their verdict before it. Loops, no recursion: auth
 * chains are 100,000 events deep.
 *
 * Specification v1.19, server-server API, "Checks performed on receipt of a PDU", step 4.
 */

import type { AuthCode } from '../../kernel/event-auth/auth-verdict.js';
import { refused } from '../../kernel/event-auth/auth-verdict.js';
import { checkAuthEvents } from '../../kernel/event-auth/check-auth-events.js';
import { checkAuthRules } from '../../kernel/event-auth/check-auth-rules.js';
import { createEventIdOf } from '../../kernel/event-auth/creators.js';
import { stateOfAuthEvents } from '../../kernel/event-auth/state-lookup.js';
import type { AuthEvent } from '../../kernel/matrix/auth-event.js';
import type { EventId } from '../../kernel/matrix/ids.js';
import type { RoomVersionRules } from '../../kernel/matrix/room-versions.js';
import { verifyInviteSignature } from '../../kernel/signatures/verify-invite-signature.js';
import { authEventIdsOf } from '../../kernel/state-res/event-source.js';
import type { DocumentEvent } from '../document/read-events.js';

/** A verdict as it is printed. */
export interface Judgement {
  readonly verdict: 'allowed' | 'rejected';
  /** `ok`, an authorization rule, an event format code, or one of the codes in the help. */
  readonly code: string;
  readonly reason: string;
}

const OPTIONS = { verifyInviteSignature };
const ALLOWED: Judgement = { verdict: 'allowed', code: 'ok', reason: 'allowed by its auth events' };

/** The judgements of the events, in their order. */
export function judgeEvents(rules: RoomVersionRules, events: readonly DocumentEvent[]): readonly Judgement[] {
  const judgements = new Map<DocumentEvent, Judgement>();
  const byId = new Map<EventId, DocumentEvent>();
  const wellFormed = new Map<EventId, AuthEvent>();
  for (const event of events) {
    const { reading, name } = event;
    const earlier = reading.eventId === undefined ? undefined : byId.get(reading.eventId);
    if (earlier !== undefined) {
      judgements.set(event, rejected('event-id-taken', `${name}: ${earlier.name} has this ID already`));
      continue;
    }
    if (reading.eventId !== undefined) byId.set(reading.eventId, event);
    if (reading.ok) wellFormed.set(reading.eventId, reading.event);
    else judgements.set(event, rejected(reading.code, `${name}: ${reading.reason}`));
  }
  const verdicts = new Verdicts(rules, byId, wellFormed);
  verdicts.judgeAll();
  return events.map(
    (event) => judgements.get(event) ?? verdicts.judgements.get(event.reading.eventId as EventId) ?? onCycle(),
  );
}

function rejected(code: string, reason: string): Judgement {
  return { verdict: 'rejected', code, reason };
}

function rejectedBy(code: AuthCode, detail = ''): Judgement {
  const verdict = refused(code);
  return rejected(code, `${verdict.allowed ? code : verdict.reason}${detail}`);
}

/** Events on a cycle never come up in topological order, nor does what rests on one. */
function onCycle(): Judgement {
  return rejected('auth-event-cycle', 'there is a cycle in its auth chain');
}

class Verdicts {
  readonly judgements = new Map<EventId, Judgement>();
  readonly #rules: RoomVersionRules;
  /** All events that are given, malformed ones too. */
  readonly #given: ReadonlyMap<EventId, unknown>;
  /** The well-formed ones; marked as rejected once they are. */
  readonly #events: Map<EventId, AuthEvent>;

  constructor(rules: RoomVersionRules, given: ReadonlyMap<EventId, unknown>, events: Map<EventId, AuthEvent>) {
    this.#rules = rules;
    this.#given = given;
    this.#events = events;
  }

  judgeAll(): void {
    const unjudgedAuthEvents = new Map<EventId, number>();
    const citedBy = new Map<EventId, EventId[]>();
    const ready: EventId[] = [];
    for (const [id, event] of this.#events) {
      const authIds = new Set(authEventIdsOf(this.#rules, event));
      let count = 0;
      for (const authId of authIds) {
        if (!this.#events.has(authId)) continue;
        count += 1;
        const citing = citedBy.get(authId);
        if (citing === undefined) citedBy.set(authId, [id]);
        else citing.push(id);
      }
      unjudgedAuthEvents.set(id, count);
      if (count === 0) ready.push(id);
    }
    for (let id = ready.pop(); id !== undefined; id = ready.pop()) {
      const event = this.#events.get(id) as AuthEvent;
      const judgement = this.#judge(event);
      this.judgements.set(id, judgement);
      if (judgement.verdict === 'rejected') this.#events.set(id, { ...event, rejected: true });
      for (const citing of citedBy.get(id) ?? []) {
        const left = (unjudgedAuthEvents.get(citing) as number) - 1;
        unjudgedAuthEvents.set(citing, left);
        if (left === 0) ready.push(citing);
      }
    }
  }

  #judge(event: AuthEvent): Judgement {
    const missing = authEventIdsOf(this.#rules, event).filter((id) => !this.#given.has(id));
    if (missing.length > 0) return rejected('auth-event-missing', `not among the events: ${missing.join(', ')}`);
    const authEvents: AuthEvent[] = [];
    for (const id of event.authEventIds) {
      const authEvent = this.#events.get(id);
      if (authEvent === undefined) return rejectedBy('auth-event-rejected', `: ${id} is malformed`);
      authEvents.push(authEvent);
    }
    const ofList = checkAuthEvents(this.#rules, event, authEvents);
    if (!ofList.allowed) {
      const culprits = authEvents.filter((authEvent) => authEvent.rejected).map((authEvent) => authEvent.eventId);
      return rejectedBy(ofList.code, ofList.code === 'auth-event-rejected' ? `: ${culprits.join(', ')}` : '');
    }
    const create = this.#impliedCreate(event);
    if (create !== undefined && create.type !== 'm.room.create') return rejectedBy('room-id-not-create-event');
    const verdict = checkAuthRules(this.#rules, event, stateOfAuthEvents(this.#rules, authEvents, create), OPTIONS);
    return verdict.allowed ? ALLOWED : rejectedBy(verdict.code);
  }

  /** v12: the create event, which the room ID names and auth_events does not. */
  #impliedCreate(event: AuthEvent): AuthEvent | undefined {
    return this.#rules.roomIdIsCreateEventHash ? this.#events.get(createEventIdOf(event.roomId)) : undefined;
  }
}
