/**
 * What each room version says, read from the specification once more and written down by version, not by change: a second
 * source for the table of rules. Specification v1.19, content/rooms/v1.md to v12.md with their fragments.
 *
 * Not of the specification: `longFields`, which is what the reference homeserver does.
 */

/** The first and the last version of which something holds. */
export type Span = readonly [first: number, last: number];

/** Rules that hold or not. */
export const RULE_SPANS = {
  /** v5, "Signing key validity period". */
  enforceKeyValidity: [5, 12],
  /** v6, "Canonical JSON". */
  strictCanonicalJson: [6, 12],
  /** Reference homeserver: fields over 255 bytes are dropped, not rejected. */
  fieldLimitsInBytes: [11, 12],
  /** v11, "Moving the redacts property". */
  redactsInContent: [11, 12],
  /** v1, rule 11; taken away in v3. */
  redactionAuthRule: [1, 2],
  /** v1, rule 4; taken away in v6. */
  aliasesAuthRule: [1, 5],
  /** v6, rules 9.4 and 9.5. */
  checkNotificationLevels: [6, 12],
  /** v7, rule 4.6. */
  knocking: [7, 12],
  /** v8, rule 4.3.5. */
  restrictedJoins: [8, 12],
  /** v10, rules 4.3.5 and 4.7.1. */
  knockRestricted: [10, 12],
  /** v10, rules 9.1 and 9.2. */
  integerPowerLevels: [10, 12],
  /** v1, rule 1.4; taken away in v11. */
  creatorInContent: [1, 10],
  /** v12, "Authorisation rules", notes. */
  privilegedCreators: [12, 12],
  /** v12, "Event format". */
  roomIdIsCreateEventHash: [12, 12],
} as const satisfies Readonly<Record<string, Span>>;

/** Rules with more than two values, by version from 1. */
export const RULE_VALUES = {
  eventIdForm: ['domain', 'domain', 'base64', ...Array<string>(9).fill('base64url')],
  eventReferenceForm: ['pair', 'pair', ...Array<string>(10).fill('id')],
  stateResolution: ['v1', ...Array<string>(10).fill('v2'), 'v2.1'],
} as const;

/** What a redaction keeps at the top level, and of which versions. */
export const KEPT_AT_TOP: Readonly<Record<string, Span>> = {
  event_id: [1, 12],
  type: [1, 12],
  room_id: [1, 12],
  sender: [1, 12],
  state_key: [1, 12],
  content: [1, 12],
  hashes: [1, 12],
  signatures: [1, 12],
  depth: [1, 12],
  prev_events: [1, 12],
  prev_state: [1, 10],
  auth_events: [1, 12],
  origin: [1, 10],
  origin_server_ts: [1, 12],
  membership: [1, 10],
};

/** What a redaction keeps of `content`, by event type. */
export const KEPT_IN_CONTENT: Readonly<Record<string, Readonly<Record<string, Span>>>> = {
  'm.room.member': { membership: [1, 12], join_authorised_via_users_server: [9, 12] },
  'm.room.create': { creator: [1, 12], room_version: [11, 12], 'm.federate': [11, 12], anything: [11, 12] },
  'm.room.join_rules': { join_rule: [1, 12], allow: [8, 12] },
  'm.room.power_levels': {
    ban: [1, 12],
    events: [1, 12],
    events_default: [1, 12],
    invite: [11, 12],
    kick: [1, 12],
    redact: [1, 12],
    state_default: [1, 12],
    users: [1, 12],
    users_default: [1, 12],
  },
  'm.room.aliases': { aliases: [1, 5] },
  'm.room.history_visibility': { history_visibility: [1, 12] },
  'm.room.redaction': { redacts: [11, 12] },
  'm.room.message': {},
  'm.room.third_party_invite': {},
  'm.room.server_acl': {},
};

/** Keys that no version keeps of any of these types, beside those that other types have. */
export const NEVER_KEPT = ['displayname', 'notifications', 'reason', 'x', ''];

/** `third_party_invite.signed` of a member event is kept. */
export const SIGNED_INVITE_KEPT: Span = [11, 12];
