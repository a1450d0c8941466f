/** What the admin API answers with, as far as the harness reads it. */

/** `GET /_joinery/admin/v1/process`. */
export interface ProcessFigures {
  readonly pid: number;
  readonly cpu_user_us: number;
  readonly cpu_system_us: number;
  readonly peak_rss_bytes: number;
  readonly peak_anon_bytes: number;
  readonly anon_bytes: number;
  readonly event_loop_delay_p99_ms: number;
  readonly event_loop_delay_max_ms: number;
  /** By method and path template; only endpoints that were called. */
  readonly answers: Readonly<
    Record<string, { readonly answers: number; readonly mean_ms: number; readonly max_ms: number }>
  >;
}

export interface StageFigures {
  readonly name: string;
  readonly status: 'waiting' | 'running' | 'done';
  readonly done: number;
  readonly total: number;
  readonly bytes: number;
  readonly started_ts: number | null;
  readonly ended_ts: number | null;
}

/** `GET /_joinery/admin/v1/rooms/{roomId}/resync`. */
export interface ResyncFigures {
  readonly residency: string;
  readonly stage: string;
  readonly attempts: number;
  readonly last_failure: string | null;
  readonly send_join_bytes: number;
  readonly resync_bytes: number;
  readonly counts: {
    readonly verified_signatures: number;
    readonly stored_events: number;
    readonly repeated_events: number;
    readonly repeated_bytes: number;
    readonly rejected_events: number;
    readonly dropped_events: number;
    readonly redacted_events: number;
  };
  readonly stages: readonly StageFigures[];
}

/** One entry of `GET /_joinery/admin/v1/rooms/{roomId}/refusals`. */
export interface RefusalFigures {
  readonly event_id: string;
  readonly verdict: string;
  readonly code: string;
  readonly reason: string;
}
