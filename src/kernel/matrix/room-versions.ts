/**
 * Room versions as records of named rules. Code asks `rules.knocking`, never which version it is: this is the one file
 * that compares versions, by listing each as its predecessor with changes.
 *
 * Specification v1.19, "Room Versions" (content/rooms/v1.md to v12.md).
 */

/** Which keys a redaction keeps (rooms, "Redactions"). */
export interface RedactionRules {
  /** Top-level keys that survive. */
  readonly topLevelKeys: ReadonlySet<string>;
  /** Keys of `content` that survive, by event type; `all` keeps the whole content. */
  readonly contentKeys: ReadonlyMap<string, readonly string[] | 'all'>;
  /** `m.room.member`'s `third_party_invite.signed` survives (v11+). */
  readonly keepThirdPartyInviteSigned: boolean;
}

/** Everything in which room versions differ. */
export interface RoomVersionRules {
  readonly version: string;
  /** `domain`: event_id is a field (v1, v2); `base64` (v3) and `base64url` (v4+): `$` and the reference hash. */
  readonly eventIdForm: 'domain' | 'base64' | 'base64url';
  /** `pair`: auth_events and prev_events are `[id, {sha256}]` (v1, v2); `id`: plain event IDs. */
  readonly eventReferenceForm: 'pair' | 'id';
  readonly stateResolution: 'v1' | 'v2' | 'v2.1';
  /** Signing keys must be valid at the event's origin_server_ts (v5+). */
  readonly enforceKeyValidity: boolean;
  /** Integers only, within ±(2^53 - 1) (v6+). */
  readonly strictCanonicalJson: boolean;
  /**
   * A field over 255 bytes drops the event (v11+). Before, a field over 255 code points drops it, and one within that but
   * over 255 bytes leaves it rejected, so that later events can name it (as the reference homeserver does).
   */
  readonly fieldLimitsInBytes: boolean;
  readonly redaction: RedactionRules;
  /** The event that is redacted stands in `content.redacts` (v11+), else at the top level. */
  readonly redactsInContent: boolean;
  /** `m.room.redaction` has an auth rule of its own (v1, v2); later versions check when they apply the redaction. */
  readonly redactionAuthRule: boolean;
  /** `m.room.aliases` has an auth rule of its own (v1 to v5). */
  readonly aliasesAuthRule: boolean;
  /** Changes to `notifications` in power levels are checked (v6+). */
  readonly checkNotificationLevels: boolean;
  readonly knocking: boolean;
  readonly restrictedJoins: boolean;
  readonly knockRestricted: boolean;
  /** Power levels must be integers, and every entry of `users` a valid user ID (v10+). */
  readonly integerPowerLevels: boolean;
  /** The create event's `content.creator` is required and names the creator (v1 to v10); else its sender is. */
  readonly creatorInContent: boolean;
  /** Creators, with `additional_creators`, have infinite power (v12+). */
  readonly privilegedCreators: boolean;
  /** The room ID is the create event's reference hash (v12+); then create is not among auth_events but implied. */
  readonly roomIdIsCreateEventHash: boolean;
}

const POWER_LEVEL_KEYS = [
  'ban',
  'events',
  'events_default',
  'kick',
  'redact',
  'state_default',
  'users',
  'users_default',
];

// biome-ignore format: one list, read as the specification's
const TOP_LEVEL_V1 = [
  'event_id', 'type', 'room_id', 'sender', 'state_key', 'content', 'hashes', 'signatures', 'depth', 'prev_events',
  'prev_state', 'auth_events', 'origin', 'origin_server_ts', 'membership',
];
// biome-ignore format: one list, read as the specification's
const TOP_LEVEL_V11 = [
  'event_id', 'type', 'room_id', 'sender', 'state_key', 'content', 'hashes', 'signatures', 'depth', 'prev_events',
  'auth_events', 'origin_server_ts',
];

type ContentKeys = Readonly<Record<string, readonly string[] | 'all'>>;

const CONTENT_V1: ContentKeys = {
  'm.room.member': ['membership'],
  'm.room.create': ['creator'],
  'm.room.join_rules': ['join_rule'],
  'm.room.power_levels': POWER_LEVEL_KEYS,
  'm.room.aliases': ['aliases'],
  'm.room.history_visibility': ['history_visibility'],
};
const { 'm.room.aliases': _aliasesGone, ...CONTENT_V6 } = CONTENT_V1;
const CONTENT_V8: ContentKeys = { ...CONTENT_V6, 'm.room.join_rules': ['join_rule', 'allow'] };
const CONTENT_V9: ContentKeys = { ...CONTENT_V8, 'm.room.member': ['membership', 'join_authorised_via_users_server'] };
const CONTENT_V11: ContentKeys = {
  ...CONTENT_V9,
  'm.room.create': 'all',
  'm.room.power_levels': [...POWER_LEVEL_KEYS, 'invite'],
  'm.room.redaction': ['redacts'],
};

function redaction(topLevel: readonly string[], content: ContentKeys, signed: boolean): RedactionRules {
  return {
    topLevelKeys: new Set(topLevel),
    contentKeys: new Map(Object.entries(content)),
    keepThirdPartyInviteSigned: signed,
  };
}

const V1: RoomVersionRules = {
  version: '1',
  eventIdForm: 'domain',
  eventReferenceForm: 'pair',
  stateResolution: 'v1',
  enforceKeyValidity: false,
  strictCanonicalJson: false,
  fieldLimitsInBytes: false,
  redaction: redaction(TOP_LEVEL_V1, CONTENT_V1, false),
  redactsInContent: false,
  redactionAuthRule: true,
  aliasesAuthRule: true,
  checkNotificationLevels: false,
  knocking: false,
  restrictedJoins: false,
  knockRestricted: false,
  integerPowerLevels: false,
  creatorInContent: true,
  privilegedCreators: false,
  roomIdIsCreateEventHash: false,
};
const V2: RoomVersionRules = { ...V1, version: '2', stateResolution: 'v2' };
const V3: RoomVersionRules = {
  ...V2,
  version: '3',
  eventIdForm: 'base64',
  eventReferenceForm: 'id',
  redactionAuthRule: false,
};
const V4: RoomVersionRules = { ...V3, version: '4', eventIdForm: 'base64url' };
const V5: RoomVersionRules = { ...V4, version: '5', enforceKeyValidity: true };
const V6: RoomVersionRules = {
  ...V5,
  version: '6',
  strictCanonicalJson: true,
  aliasesAuthRule: false,
  checkNotificationLevels: true,
  redaction: redaction(TOP_LEVEL_V1, CONTENT_V6, false),
};
const V7: RoomVersionRules = { ...V6, version: '7', knocking: true };
const V8: RoomVersionRules = {
  ...V7,
  version: '8',
  restrictedJoins: true,
  redaction: redaction(TOP_LEVEL_V1, CONTENT_V8, false),
};
const V9: RoomVersionRules = { ...V8, version: '9', redaction: redaction(TOP_LEVEL_V1, CONTENT_V9, false) };
const V10: RoomVersionRules = { ...V9, version: '10', knockRestricted: true, integerPowerLevels: true };
const V11: RoomVersionRules = {
  ...V10,
  version: '11',
  fieldLimitsInBytes: true,
  redaction: redaction(TOP_LEVEL_V11, CONTENT_V11, true),
  redactsInContent: true,
  creatorInContent: false,
};
const V12: RoomVersionRules = {
  ...V11,
  version: '12',
  stateResolution: 'v2.1',
  privilegedCreators: true,
  roomIdIsCreateEventHash: true,
};

const byVersion: ReadonlyMap<string, RoomVersionRules> = new Map(
  [V1, V2, V3, V4, V5, V6, V7, V8, V9, V10, V11, V12].map((rules) => [rules.version, rules]),
);

/** The rules of a room version, or undefined where we do not know it. */
export function roomVersionRules(version: string): RoomVersionRules | undefined {
  return byVersion.get(version);
}

/** Every room version we know, in ascending order: what make_join offers as `ver`. */
export const ROOM_VERSIONS: readonly string[] = [...byVersion.keys()];
