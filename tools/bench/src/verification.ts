/** Whether what was measured happened: what clients were answered against what Postgres has, and what became of the spans. */
import type { Database } from '@ironflow/database';
import type { Fleet } from '@ironflow/platform';
import { neighbourPull, neighbourPush, pullFunction, pushFunction } from './workload.js';
import { storedEvent } from './workloads.js';

/** What clients saw, warm-ups included. */
export interface Answered {
  requests: number;
  failures: number;
  runs: number;
  storedEvents: number;
}

export interface Counts {
  completedRuns: number;
  openRuns: number;
  completedSteps: number;
  storedEvents: number;
  /** Told and not judged: they are kept as well as can be. */
  logLines: number;
}

export interface Spans {
  sent: number;
  dropped: number;
}

/** Pure: what is wrong, in sentences; empty if nothing is. */
export function problemsOf(answered: Answered, counts: Omit<Counts, 'logLines'>, spans: Spans): string[] {
  const { completedRuns, completedSteps, openRuns } = counts;
  return [
    ...(answered.failures > 0 ? [`${answered.failures} of ${answered.requests} requests failed`] : []),
    ...(completedRuns < answered.runs
      ? [`${answered.runs} runs were answered, ${completedRuns} are there`]
      : []),
    ...(completedSteps !== 3 * completedRuns
      ? [`${completedRuns} runs of three steps have ${completedSteps} steps`]
      : []),
    ...(openRuns > 0 ? [`${openRuns} runs have not ended`] : []),
    ...(counts.storedEvents < answered.storedEvents
      ? [`${answered.storedEvents} stored events were answered, ${counts.storedEvents} are there`]
      : []),
    ...(spans.sent === 0 ? ['no span was sent'] : []),
    ...(spans.dropped > 0 ? [`${spans.dropped} spans were dropped`] : []),
  ];
}

export async function countRows(database: Database): Promise<Counts> {
  const [row] = await database.query<Counts>(
    {
      name: 'bench_count',
      text: `select (select count(*)::int from runs where status = 'completed' and function_id = any($2)) as "completedRuns",
                    (select count(*)::int from runs where ended_at is null) as "openRuns",
                    (select count(*)::int from steps s join runs r on r.id = s.run_id
                      where s.status = 'completed' and r.function_id = any($2)) as "completedSteps",
                    (select count(*)::int from run_logs) as "logLines",
                    (select count(*)::int from events where name = $1) as "storedEvents"`,
    },
    [storedEvent, [pullFunction, pushFunction, neighbourPull, neighbourPush]],
  );
  return row!;
}

/** As every service itself counts them. */
export async function readSpans({ members }: Fleet): Promise<Spans> {
  const texts = await Promise.all(members.map(async ({ url }) => (await fetch(`${url}/metrics`)).text()));
  const sum = (metric: RegExp): number =>
    texts
      .flatMap((text) => [...text.matchAll(metric)])
      .reduce((total, [, value]) => total + Number(value), 0);
  return {
    sent: sum(/^ironflow_spans_sent_total(?:\{.*\})? (\S+)$/gm),
    dropped: sum(/^ironflow_spans_dropped_total(?:\{.*\})? (\S+)$/gm),
  };
}
