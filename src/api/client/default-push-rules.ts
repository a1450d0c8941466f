/**
 * The push rules that every user has. Nobody can change them in this version, but real client libraries do not start to
 * sync without them. Specification v1.19, client-server API, "Predefined Rules".
 */

import type { UserId } from '../../kernel/matrix/ids.js';
import type { JsonObject, JsonValue } from '../../kernel/matrix/json.js';

const NOTIFY: readonly JsonValue[] = ['notify', { set_tweak: 'sound', value: 'default' }];

function rule(
  id: string,
  conditions: readonly JsonObject[],
  actions: readonly JsonValue[],
  enabled = true,
): JsonObject {
  return { rule_id: id, default: true, enabled, conditions, actions };
}

function is(key: string, pattern: string): JsonObject {
  return { kind: 'event_match', key, pattern };
}

const ONE_TO_ONE: JsonObject = { kind: 'room_member_count', is: '2' };

/** The server-default rules of a user, each kind in the order in which its rules are tried. */
export function defaultPushRules(userId: UserId): JsonObject {
  const highlight: readonly JsonValue[] = [...NOTIFY, { set_tweak: 'highlight' }];
  return {
    override: [
      rule('.m.rule.master', [], [], false),
      rule('.m.rule.suppress_notices', [is('content.msgtype', 'm.notice')], []),
      rule(
        '.m.rule.invite_for_me',
        [is('type', 'm.room.member'), is('content.membership', 'invite'), is('state_key', userId)],
        NOTIFY,
      ),
      rule('.m.rule.member_event', [is('type', 'm.room.member')], []),
      rule(
        '.m.rule.is_user_mention',
        [{ kind: 'event_property_contains', key: 'content.m\\.mentions.user_ids', value: userId }],
        highlight,
      ),
      rule(
        '.m.rule.is_room_mention',
        [
          { kind: 'event_property_is', key: 'content.m\\.mentions.room', value: true },
          { kind: 'sender_notification_permission', key: 'room' },
        ],
        ['notify', { set_tweak: 'highlight' }],
      ),
      rule(
        '.m.rule.tombstone',
        [is('type', 'm.room.tombstone'), is('state_key', '')],
        ['notify', { set_tweak: 'highlight' }],
      ),
      rule('.m.rule.reaction', [is('type', 'm.reaction')], []),
      rule('.m.rule.room.server_acl', [is('type', 'm.room.server_acl'), is('state_key', '')], []),
      rule(
        '.m.rule.suppress_edits',
        [{ kind: 'event_property_is', key: 'content.m\\.relates_to.rel_type', value: 'm.replace' }],
        [],
      ),
    ],
    content: [],
    room: [],
    sender: [],
    underride: [
      rule('.m.rule.call', [is('type', 'm.call.invite')], ['notify', { set_tweak: 'sound', value: 'ring' }]),
      rule('.m.rule.encrypted_room_one_to_one', [ONE_TO_ONE, is('type', 'm.room.encrypted')], NOTIFY),
      rule('.m.rule.room_one_to_one', [ONE_TO_ONE, is('type', 'm.room.message')], NOTIFY),
      rule('.m.rule.message', [is('type', 'm.room.message')], ['notify']),
      rule('.m.rule.encrypted', [is('type', 'm.room.encrypted')], ['notify']),
    ],
  };
}
