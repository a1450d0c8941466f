/** All figures of a run as one flat object (the JSON file), and the few that a reader wants as a table. */

import { availableParallelism, cpus } from 'node:os';
import type { ProcessFigures } from '../admin-shapes.js';
import type { Outcome } from '../check-outcome.js';
import type { HqOptions } from '../options.js';
import type { Manifest } from '../room/manifest.js';
import type { JoinFigures } from '../run-join.js';
import type { VerifyOnlyFigures } from './verify-only.js';

const SEND_JOIN = 'PUT /_matrix/federation/v2/send_join/{roomId}/{eventId}';

export type Report = Readonly<Record<string, unknown>>;

/** Everything that was measured and found. */
export function makeReport(
  options: HqOptions,
  manifest: Manifest,
  join: JoinFigures,
  outcome: Outcome,
  verifyOnly: VerifyOnlyFigures,
): Report {
  const { events } = manifest;
  // A full join fetches and verifies before it answers, a partial one after.
  const fetchingMs = options.full ? join.join_ms + join.resync_ms : join.resync_ms;
  const joinerCpuUs = cpuBetween(join.joinerBefore, join.joinerAfter) / events;
  const eventsPerS = events / (fetchingMs / 1000);
  const { verify_us_per_signature, verify_only_events_per_s } = verifyOnly;
  return {
    events,
    state_events: outcome.stateEvents,
    members: outcome.members,
    servers: manifest.servers,
    pdu_bytes: manifest.pdu_bytes,
    room_version: manifest.room_version,
    seed: manifest.seed,
    threads: options.threads,
    mode: options.full ? 'full' : 'partial',
    join_ms: rounded(join.join_ms, 1),
    usable_ms: rounded(join.usable_ms, 1),
    send_join_bytes: join.resync?.send_join_bytes ?? null,
    resync_ms: rounded(join.resync_ms, 1),
    members_complete_ms: rounded(join.members_complete_ms, 1),
    resync_bytes: join.resync?.resync_bytes ?? null,
    resync_events_per_s: rounded(eventsPerS, 0),
    resident_send_join_ms: sendJoinMs(join.residentAfter),
    other_room_send_ms: {
      sends: join.otherRoom.sends,
      p50: roundedOrNull(join.otherRoom.p50_ms, 1),
      p99: roundedOrNull(join.otherRoom.p99_ms, 1),
    },
    joiner_cpu_us_per_event: rounded(joinerCpuUs, 2),
    resident_cpu_us_per_event: rounded(cpuBetween(join.residentBefore, join.residentAfter) / events, 2),
    verify_us_per_signature: rounded(verify_us_per_signature, 2),
    verify_only_events_per_s: rounded(verify_only_events_per_s, 0),
    cpu_efficiency: rounded(verify_us_per_signature / joinerCpuUs, 3),
    efficiency: rounded(eventsPerS / verify_only_events_per_s, 3),
    peak_anon_mb: {
      joiner: megabytes(join.joinerAfter.peak_anon_bytes),
      resident: megabytes(join.residentAfter.peak_anon_bytes),
    },
    peak_rss_mb: {
      joiner: megabytes(join.joinerAfter.peak_rss_bytes),
      resident: megabytes(join.residentAfter.peak_rss_bytes),
    },
    resident_anon_growth_mb: megabytes(join.residentAfter.peak_anon_bytes - join.residentBefore.anon_bytes),
    event_loop_delay_p99_ms: rounded(join.joinerAfter.event_loop_delay_p99_ms, 1),
    event_loop_delay_max_ms: rounded(join.joinerAfter.event_loop_delay_max_ms, 1),
    verified_signatures: join.resync?.counts.verified_signatures ?? null,
    stored_events: join.resync?.counts.stored_events ?? null,
    rejected_events: join.resync?.counts.rejected_events ?? refusalsOf(join, 'rejected'),
    dropped_events: join.resync?.counts.dropped_events ?? refusalsOf(join, 'dropped'),
    redacted_events: join.resync?.counts.redacted_events ?? refusalsOf(join, 'redacted'),
    planted_events: manifest.planted.length,
    state_hash: outcome.stateHash,
    state_matches: outcome.stateMatchesManifest && outcome.stateMatchesResident,
    refusals_match: outcome.refusalsMatch,
    sabotage: options.sabotage,
    stages: join.resync?.stages ?? [],
    node: process.version,
    cpu: cpus()[0]?.model ?? 'unknown',
    cores: availableParallelism(),
  };
}

/** CPU that a process spent between two looks at it, in microseconds. */
export function cpuBetween(before: ProcessFigures, after: ProcessFigures): number {
  return after.cpu_user_us + after.cpu_system_us - before.cpu_user_us - before.cpu_system_us;
}

/** The resident's own time for the one send_join of the run, from the request to the answer's last piece. */
function sendJoinMs({ answers }: ProcessFigures): number {
  const times = answers[SEND_JOIN];
  if (times?.answers !== 1) throw new Error(`the resident answered ${times?.answers ?? 0} times to ${SEND_JOIN}`);
  return rounded(times.max_ms, 1);
}

/** After a full join the admin API has no resync to count for. */
function refusalsOf(join: JoinFigures, verdict: string): number {
  return join.refusals.filter((refusal) => refusal.verdict === verdict).length;
}

function rounded(value: number, digits: number): number {
  return Number(value.toFixed(digits));
}

function roundedOrNull(value: number | null, digits: number): number | null {
  return value === null ? null : rounded(value, digits);
}

function megabytes(bytes: number): number {
  return rounded(bytes / 1e6, 1);
}

const TABLE: readonly string[] = [
  'events',
  'state_events',
  'members',
  'mode',
  'threads',
  'join_ms',
  'usable_ms',
  'resync_ms',
  'resident_send_join_ms',
  'other_room_send_ms',
  'resync_events_per_s',
  'verify_only_events_per_s',
  'efficiency',
  'joiner_cpu_us_per_event',
  'verify_us_per_signature',
  'cpu_efficiency',
  'resident_cpu_us_per_event',
  'peak_anon_mb',
  'event_loop_delay_p99_ms',
  'rejected_events',
  'dropped_events',
  'redacted_events',
  'state_hash',
  'state_matches',
  'refusals_match',
];

/** The table, a line for each figure. */
export function tableOf(report: Report): string {
  return TABLE.map((name) => `${name.padEnd(26)} ${wordsOf(report[name])}\n`).join('');
}

function wordsOf(value: unknown): string {
  if (typeof value !== 'object' || value === null) return String(value ?? '-');
  return Object.entries(value)
    .map(([key, part]) => `${key} ${String(part)}`)
    .join(', ');
}
