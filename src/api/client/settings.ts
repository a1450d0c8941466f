/**
 * Filters, and the default push rules, without which real client libraries do not start to sync.
 * Specification v1.19, client-server API, "Filtering" and "Predefined Rules".
 */

import type { JsonObject, JsonValue } from '../../kernel/matrix/json.js';
import { MatrixError } from '../../kernel/matrix/matrix-error.js';
import type { TokenRow } from '../../store/users.js';
import { loadFilter, putFilter } from '../../store/users.js';
import type { ApiRequest, Endpoint } from '../endpoint.js';
import { ok } from '../endpoint.js';
import type { ClientContext } from './client-context.js';
import { bodyObject, userEndpoint } from './client-context.js';

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

/** The server-default rules of a user. */
function defaultRules(userId: string): JsonObject {
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

function own(request: ApiRequest, caller: TokenRow): void {
  if (request.params.userId !== caller.userId) throw new MatrixError(403, 'M_FORBIDDEN', 'filters of another user');
}

export function settingsEndpoints(context: ClientContext): readonly Endpoint[] {
  const { store } = context.server;
  return [
    ...['/pushrules', '/pushrules/'].flatMap((path) =>
      userEndpoint(context, 'GET', path, async (_request, { userId }) => ok({ global: defaultRules(userId) })),
    ),
    ...userEndpoint(context, 'POST', '/user/{userId}/filter', async (request, caller) => {
      own(request, caller);
      const filter = bodyObject(request);
      return ok({ filter_id: store.write((writer) => putFilter(writer, caller.userId, filter)) });
    }),
    ...userEndpoint(context, 'GET', '/user/{userId}/filter/{filterId}', async (request, caller) => {
      own(request, caller);
      const filter = loadFilter(store, caller.userId, request.params.filterId ?? '');
      if (filter === undefined) throw new MatrixError(404, 'M_NOT_FOUND', `no filter ${request.params.filterId}`);
      return ok(filter);
    }),
  ];
}
