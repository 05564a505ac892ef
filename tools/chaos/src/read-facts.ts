/** Reads from Postgres what became of everything; only what the oracle asks about. */
import type { Database } from '@ironflow/database';
import type { ClaimFact, DeadLetterFact, EventFact, RunFact, StepFact } from './facts.js';

const millisecondsOf = (column: string): string => `(extract(epoch from ${column}) * 1000)::float8`;

export async function readDatabase(database: Database): Promise<{
  events: EventFact[];
  runs: RunFact[];
  steps: StepFact[];
  deadLetters: DeadLetterFact[];
  claims: ClaimFact[];
}> {
  const events = await database.query<EventFact>(
    {
      name: 'chaos_events',
      text: `select id, name, data::text as data, source, function_id as "functionId", rerun_of as "rerunOf",
                    ${millisecondsOf('received_at')} as "receivedAtMs" from events`,
    },
    [],
  );
  const runs = await database.query<Omit<RunFact, 'notCompensated'> & { notCompensated: string | null }>(
    {
      name: 'chaos_runs',
      text: `select id, event_id as "eventId", function_id as "functionId", status, skip_reason as "skipReason",
                    joined_run_id as "joinedRunId",
                    output::text as output, error::text as error, failures, build_id as "buildId",
                    not_compensated::text as "notCompensated", ${millisecondsOf('created_at')} as "createdAtMs",
                    ${millisecondsOf('ended_at')} as "endedAtMs" from runs`,
    },
    [],
  );
  const steps = await database.query<StepFact>(
    {
      name: 'chaos_steps',
      text: `select run_id as "runId", step_id as "stepId", attempt, type, status,
                    ${millisecondsOf('due_at')} as "dueAtMs", awaited_event_id as "awaitedEventId" from steps`,
    },
    [],
  );
  const deadLetters = await database.query<DeadLetterFact>(
    { name: 'chaos_letters', text: 'select reason, detail, run_id as "runId" from dead_letters' },
    [],
  );
  const claims = await database.query<ClaimFact>(
    { name: 'chaos_claims', text: 'select run_id as "runId", step_id as "stepId" from claimed_outputs' },
    [],
  );
  return {
    events: events.map((event) => ({ ...event, data: parsed(event.data) })),
    runs: runs.map((run) => ({
      ...run,
      output: parsed(run.output),
      error: parsed(run.error) as RunFact['error'],
      notCompensated: ((parsed(run.notCompensated) ?? []) as { step: string }[]).map(({ step }) => step),
    })),
    steps,
    deadLetters,
    claims,
  };
}

function parsed(text: unknown): unknown {
  return text === null || text === undefined ? null : (JSON.parse(text as string) as unknown);
}
