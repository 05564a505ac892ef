/** A run as the scheduler publishes its activation: what the subject and the message have to say. */
import type { RunMode, Scope } from '@ironflow/schema';

export interface RunToActivate {
  runId: string;
  scope: Scope;
  mode: RunMode;
  appId: string;
  functionId: string;
  eventId: string;
}

export interface RunToActivateRow {
  id: string;
  environment_id: string;
  project: string;
  env: string;
  mode: RunMode;
  app_id: string;
  function_id: string;
  event_id: string;
}

/** Of `environments e`. */
export const scopeColumns = 'e.project, e.name as env';

export function runToActivate(row: RunToActivateRow): RunToActivate {
  return {
    runId: row.id,
    scope: { environmentId: row.environment_id, project: row.project, env: row.env },
    mode: row.mode,
    appId: row.app_id,
    functionId: row.function_id,
    eventId: row.event_id,
  };
}
