/**
 * Which stage of the pipeline a file of the joiner belongs to: the whole of how `npm run hq -- --profile` turns a sampled
 * stack into a row of its table.
 *
 * A path that ends in `/` stands for all files under it; the longest path that fits a file decides. C++ that JavaScript
 * calls (libsodium, LMDB, hashes) is sampled as the JavaScript function that calls it.
 */

/** Rows of the table, in the order of an event's way; `other` rows come last. */
export const STAGES = [
  'signature checks of events (libsodium)',
  'splitting responses',
  'format, fields, records of events',
  'canonical form and hashes of events',
  'event IDs: indexing and listing',
  'judging: auth checks, verdicts',
  'storing and reading (LMDB)',
  'state group',
  'keys of servers',
  'sends to servers',
  'requests to servers: TLS, sockets, signing',
  'the join: template, answer, partial state',
  'answering clients: join, /members, progress',
  'tasks and batches between threads',
  'event loop, sockets, TLS outside JavaScript',
  'garbage collection in the program',
  "V8's helper threads: compiling, collecting",
  "libuv's threads: LMDB's commits",
  'other code of ours',
  'other packages and node',
] as const;
export type StageRow = (typeof STAGES)[number];

export interface StageFiles {
  readonly stage: StageRow;
  readonly files: readonly string[];
}

/** Everything that these call counts for them: what they use is used elsewhere too. The outermost on the stack decides. */
export const WITH_ALL_THEY_CALL: readonly StageFiles[] = [
  { stage: 'keys of servers', files: ['src/remote/keys/', 'src/remote/key-ring.ts', 'src/store/server-keys.ts'] },
  {
    stage: 'sends to servers',
    files: [
      'src/remote/outbound/',
      'src/remote/outbound-queue.ts',
      'src/room/distribute-event.ts',
      'src/room/send-event.ts',
      'src/store/transactions.ts',
    ],
  },
  {
    stage: 'requests to servers: TLS, sockets, signing',
    files: [
      'src/remote/federation-client.ts',
      'src/remote/connections/tls-connector.ts',
      'src/remote/discovery/',
      'src/kernel/signatures/x-matrix.ts',
    ],
  },
  {
    stage: 'state group',
    files: ['src/partial-state/build-full-state.ts', 'src/room/intake/place-state.ts', 'src/store/state-groups.ts'],
  },
  {
    stage: 'answering clients: join, /members, progress',
    files: ['src/workers/jobs/client-events.ts', 'src/api/admin/'],
  },
];

/** What runs in these, and in what they call that is in no list, counts for them: the innermost on the stack decides. */
export const ON_THEIR_OWN: readonly StageFiles[] = [
  {
    stage: 'signature checks of events (libsodium)',
    files: ['node_modules/sodium-native/', 'src/kernel/signatures/ed25519.ts'],
  },
  { stage: 'splitting responses', files: ['src/remote/split-response.ts'] },
  {
    stage: 'format, fields, records of events',
    files: [
      'src/kernel/pdu-bytes/scan-pdu.ts',
      'src/kernel/matrix/parse-json.ts',
      'src/kernel/matrix/parse-pdu.ts',
      'src/kernel/matrix/excise-key.ts',
      'src/kernel/matrix/ids.ts',
      'src/kernel/matrix/limits.ts',
      'src/kernel/matrix/auth-event.ts',
      'src/kernel/matrix/old-versions/',
      'src/workers/jobs/verify-pdus.ts',
      'src/workers/jobs/verify-from-bytes.ts',
      'src/workers/jobs/verify-by-parsing.ts',
      'src/workers/jobs/verified-batch.ts',
      'src/store/event-record.ts',
    ],
  },
  {
    stage: 'canonical form and hashes of events',
    files: [
      'src/kernel/matrix/canonical-json.ts',
      'src/kernel/matrix/redact.ts',
      'src/kernel/pdu-bytes/',
      'src/kernel/signatures/',
    ],
  },
  {
    stage: 'event IDs: indexing and listing',
    files: [
      'src/workers/event-index.ts',
      'src/workers/jobs/stored-already.ts',
      'src/partial-state/list-state.ts',
      'src/kernel/matrix/event-key.ts',
      'src/store/nids.ts',
    ],
  },
  {
    stage: 'judging: auth checks, verdicts',
    files: [
      'src/kernel/event-auth/',
      'src/kernel/state-res/',
      'src/workers/jobs/check-auth-batch.ts',
      'src/workers/jobs/resolve-groups.ts',
      'src/workers/jobs/find-auth-chain.ts',
      'src/workers/resolved-rooms.ts',
      'src/workers/stored-events.ts',
      'src/room/intake/judge-events.ts',
      'src/room/intake/apply-judgements.ts',
      'src/room/redactions/',
      'src/partial-state/hand-on-verdicts.ts',
      'src/partial-state/put-verdict.ts',
      'src/partial-state/un-partial-state.ts',
      'src/store/event-status.ts',
    ],
  },
  {
    stage: 'storing and reading (LMDB)',
    files: ['node_modules/lmdb/', 'node_modules/msgpackr/', 'src/store/', 'src/room/intake/store-verified.ts'],
  },
  { stage: 'requests to servers: TLS, sockets, signing', files: ['node_modules/undici/', 'src/remote/'] },
  { stage: 'the join: template, answer, partial state', files: ['src/room/'] },
  {
    stage: 'answering clients: join, /members, progress',
    files: ['src/workers/jobs/slice-client-event.ts', 'src/api/', 'src/http/', 'src/sync/'],
  },
  {
    stage: 'tasks and batches between threads',
    files: ['node_modules/piscina/', 'src/workers/', 'src/room/intake/', 'src/partial-state/'],
  },
  { stage: 'other code of ours', files: ['src/'] },
  { stage: 'other packages and node', files: ['node_modules/'] },
];

/** For stacks of node's own code alone: what it does when a socket or a message is ready. */
export const NODE_ON_ITS_OWN: readonly StageFiles[] = [
  {
    stage: 'requests to servers: TLS, sockets, signing',
    files: [
      'node:_tls_wrap',
      'node:_tls_common',
      'node:internal/tls/',
      'node:net',
      'node:internal/streams/',
      'node:internal/stream_base_commons',
    ],
  },
  {
    stage: 'tasks and batches between threads',
    files: ['node:internal/worker', 'node:internal/worker/', 'node:internal/per_context/messageport'],
  },
  { stage: 'other packages and node', files: ['node:'] },
];

/** Names that V8 gives to what is no function. */
export const V8_NAMES: Readonly<Record<string, StageRow>> = {
  '(garbage collector)': 'garbage collection in the program',
  '(program)': 'event loop, sockets, TLS outside JavaScript',
};

/** Where a thread waits, though V8 takes it to run: nothing there is CPU. */
export const WAITING: readonly { readonly file: string; readonly functionName: string }[] = [
  { file: '', functionName: '(idle)' },
  { file: '', functionName: '(root)' },
  { file: 'node_modules/piscina/dist/worker.js', functionName: 'atomicsWaitLoop' },
];
