/** A row of a wait as the scheduler reads it, and the wait it becomes. Pure. */
import { isTerminal } from '@ironflow/schema';
import type { Awaited, Failure, RunStatus, Scope, StoredEvent } from '@ironflow/schema';
import { toStoredEvent } from './stored-event.js';

export interface OpenWait {
  runId: string;
  stepId: string;
  scope: Scope;
  kind: Awaited['kind'];
  /** Of the event or the signal. */
  name: string | undefined;
  condition: string | undefined;
  match: Extract<Awaited, { kind: 'event' }>['match'];
  lookedBack: boolean;
  /** The event that started the run, without its data. */
  trigger: StoredEvent;
  /** `run`: how it ended, once it has. */
  awaitedRun: EndedRun | undefined;
}

export interface EndedRun {
  status: RunStatus;
  error: Failure | undefined;
}

export interface WaitRow {
  run_id: string;
  step_id: string;
  environment_id: string;
  project: string;
  env: string;
  kind: OpenWait['kind'];
  name: string | null;
  condition: string | null;
  match_path: string | null;
  match_value: string | null;
  match_type: 'string' | 'number' | 'boolean' | null;
  looked_back: boolean;
  trigger_id: string;
  trigger_name: string;
  trigger_version: string | null;
  trigger_source: StoredEvent['source'];
  trigger_correlation_id: string;
  trigger_received_at_ms: number;
  status: RunStatus | null;
  error: Failure | null;
}

export function toOpenWait(row: WaitRow): OpenWait {
  const scope = { environmentId: row.environment_id, project: row.project, env: row.env };
  return {
    runId: row.run_id,
    stepId: row.step_id,
    scope,
    kind: row.kind,
    name: row.name ?? undefined,
    condition: row.condition ?? undefined,
    match: row.match_path === null ? undefined : { path: row.match_path, value: matchValueOf(row) },
    lookedBack: row.looked_back,
    trigger: toStoredEvent({
      id: row.trigger_id,
      environment_id: row.environment_id,
      project: row.project,
      env: row.env,
      name: row.trigger_name,
      data: '',
      version: row.trigger_version,
      source: row.trigger_source,
      received_at_ms: row.trigger_received_at_ms,
      correlation_id: row.trigger_correlation_id,
      causation_id: null,
      traceparent: null,
      function_id: null,
      rerun_of: null,
      rerun_from_step: null,
    }),
    awaitedRun:
      row.status !== null && isTerminal(row.status)
        ? { status: row.status, error: row.error ?? undefined }
        : undefined,
  };
}

function matchValueOf({ match_value: text, match_type: type }: WaitRow): string | number | boolean {
  if (type === 'number') return Number(text);
  return type === 'boolean' ? text === 'true' : text!;
}
