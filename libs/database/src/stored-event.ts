/** A row of an event as the scheduler reads it, beside its environment's `scopeColumns`, and the event it becomes. Pure. */
import type { Scope, StoredEvent } from '@ironflow/schema';

/** Of `events`. */
export const storedEventColumns = `id, environment_id, name, data::text, version, source, correlation_id, causation_id,
  traceparent, function_id, rerun_of, rerun_from_step,
  (extract(epoch from received_at) * 1000)::float8 as received_at_ms`;

export interface StoredEventRow {
  id: string;
  environment_id: string;
  project: string;
  env: string;
  name: string;
  /** JSON text. */
  data: string;
  version: string | null;
  source: StoredEvent['source'];
  received_at_ms: number;
  correlation_id: string;
  causation_id: string | null;
  traceparent: string | null;
  function_id: string | null;
  rerun_of: string | null;
  rerun_from_step: string | null;
}

export function toStoredEvent(row: StoredEventRow): StoredEvent {
  const scope: Scope = { environmentId: row.environment_id, project: row.project, env: row.env };
  return {
    id: row.id,
    scope,
    name: row.name,
    data: row.data,
    source: row.source,
    receivedAtMs: row.received_at_ms,
    correlationId: row.correlation_id,
    ...(row.version === null ? {} : { version: row.version }),
    ...(row.causation_id === null ? {} : { causationId: row.causation_id }),
    ...(row.traceparent === null ? {} : { traceparent: row.traceparent }),
    ...(row.function_id === null ? {} : { functionId: row.function_id }),
    ...(row.rerun_of === null ? {} : { rerunOf: row.rerun_of }),
    ...(row.rerun_from_step === null ? {} : { rerunFromStep: row.rerun_from_step }),
  };
}
