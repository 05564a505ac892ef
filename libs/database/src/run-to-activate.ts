/** A run as the scheduler publishes its activation: what the subject and the message have to say. */
import type { RunMode, Scope } from '@ironflow/schema';

export interface RunToActivate {
  runId: string;
  scope: Scope;
  mode: RunMode;
  appId: string;
  /** Of the lane on which it is activated now: that of its build, once the activation that pinned it is over. */
  buildId?: string;
  functionId: string;
  eventId: string;
  /** Flow control decides when it goes on (flow-control.ts). */
  limited?: true;
  /** It is activated on the lane of its environment. */
  bulk?: true;
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
  build_id: string | null;
  limited: boolean;
  bulk: boolean;
}

/** Of a row of runs; the index runs_resting has the same words. */
export function laneBuildOf(run: string): string {
  return `case when ${run}.served > ${run}.pinned_after then ${run}.build_id end`;
}
export const laneColumnOf = (run: string): string =>
  `${laneBuildOf(run)} as build_id, ${run}.limited, ${run}.bulk`;

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
    ...(row.build_id === null ? {} : { buildId: row.build_id }),
    ...(row.limited ? { limited: true } : {}),
    ...(row.bulk ? { bulk: true } : {}),
  };
}
