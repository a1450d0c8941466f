/**
 * What `--help` prints, for the command as a whole and for the tools that have more to say. Apart from the commands' own
 * files, because those are loaded only when they run.
 */

export const HELP = `joinery: a Matrix federation engine

  joinery generate --server-name NAME --dir DIR   write a configuration, a signing key, an admin token, a certificate
  joinery serve --config FILE                     run the server
  joinery verify --room-version V [FILE]          check format, hashes and signatures of PDUs, one a line
  joinery check-auth --room-version V FILE        check events against their own auth_events
  joinery resolve --room-version V FILE           resolve state sets into one state
  joinery COMMAND --help                          more about verify, check-auth and resolve
  joinery --help                                  this text
  joinery --version                               the version

Exit codes: 0 done, 1 failed or a verdict is bad, 2 wrong use or input that cannot be read.
`;

const VERIFY = `joinery verify --room-version V [--keys FILE] [--threads N] [FILE]

Reads PDUs, one a line, from FILE or, without one or with -, from standard input. Prints one line of JSON for each, in the
same order:

  event_id             computed; as stated in room versions 1 and 2; null when the format is not ok
  format               ok, or a code; line and reason are then there too
  content_hash         ok, mismatch or missing; null when the format is not ok
  signatures           every signature there is: server, key_id, and as result ok, bad, unknown_key or expired_key
  missing_signatures   only where there are some: servers that had to sign and did not
  redacted             whether the event must be treated as redacted, because its content hash is not ok

Options:
  --room-version V     a room version from 1 to 12
  --keys FILE          public keys: { "server": { "ed25519:id": "base64" } }; in the place of the base64 also
                       { "key": "base64", "valid_until_ts": MS } (or "expired_ts"), from which expired_key follows
  --threads N          threads that verify; default: one for each core

A PDU is bad when its format or its content hash is not ok or, with --keys, when a server that has to sign it (the sender's,
in room versions 1 and 2 that of the event ID, the one that authorised a restricted join) has no signature that is ok.
Without --keys no signature is judged. Empty lines are skipped.

Example:
  joinery verify --room-version 11 --keys keys.json room.jsonl

Exit codes: 0 every PDU is good, 1 one is bad, 2 wrong use or input that cannot be read.
`;

const EVENTS = `An event with an event_id has that ID; hashes, signatures, prev_events, depth and origin_server_ts may then be left out, so
that stories are easy to write. Without one the ID is computed. In room versions 1 and 2 event_id is always needed.`;

const CHECK_AUTH = `joinery check-auth --room-version V FILE

Reads { "events": [PDU, ...] } from FILE, or from standard input when it is -. Checks each event by the authorization rules
against its own auth_events, which must be among the events, in any order. Prints one line of JSON for each, in their
order: event_id, verdict (allowed or rejected), code (ok where allowed), reason in words. Signatures are not checked.

${EVENTS}

Codes beside those of the authorization rules and of the event format:
  auth-event-missing   an auth event, or in room version 12 the create event, is not among the events
  auth-event-rejected  an auth event was itself rejected, for whatever reason
  auth-event-cycle     there is a cycle in its auth chain
  event-id-taken       an earlier one of the events has this ID

Example:
  echo '{ "events": [
    { "event_id": "$create", "type": "m.room.create", "state_key": "", "room_id": "!r:a.test", "sender": "@a:a.test",
      "content": {}, "auth_events": [] },
    { "event_id": "$join", "type": "m.room.member", "state_key": "@a:a.test", "room_id": "!r:a.test",
      "sender": "@a:a.test", "content": { "membership": "join" }, "auth_events": ["$create"],
      "prev_events": ["$create"] } ] }' | joinery check-auth --room-version 11 -

Exit codes: 0 every event is allowed, 1 one is rejected, 2 wrong use or input that cannot be read.
`;

const RESOLVE = `joinery resolve --room-version V FILE

Reads { "events": [PDU, ...], "state_sets": [["$id", ...], ...] } from FILE, or from standard input when it is -: the state
events of one room with their auth chains, and the states to resolve, each a list of event IDs. Prints

  { "resolved": [{ "type", "state_key", "event_id" }], "conflicted": n, "auth_difference": n,
    "rejected": [{ "event_id", "code" }] }

resolved is sorted by type, then state key, by code points. conflicted and auth_difference count events. rejected are the
events that were considered and refused; losing to another event is no refusal. All events are taken as accepted before
(check-auth says whether they are).

${EVENTS}

Example:
  joinery resolve --room-version 11 forks.json

Exit codes: 0 resolved, 1 resolved and rejected is not empty, 2 wrong use or input that cannot be read.
`;

/** The help of a command that has one of its own. */
export const COMMAND_HELP: ReadonlyMap<string, string> = new Map([
  ['verify', VERIFY],
  ['check-auth', CHECK_AUTH],
  ['resolve', RESOLVE],
]);
