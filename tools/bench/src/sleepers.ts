/** Runs that sleep: many timers due at about the same time, and many that are not due for long. */
import { fetch } from 'undici';
import type { Database } from '@ironflow/database';
import { eventually } from '@ironflow/testing';
import { quantile } from './load.js';
import { sleeperFunction } from './workload.js';

export interface SleepersOptions {
  urls: string[];
  apiKey: string;
  database: Pick<Database, 'query'>;
  count: number;
  /** When the nth one is to wake, in milliseconds since 1970. */
  untilMs: (n: number) => number;
  asleepWithinMs: number;
}

const eventsPerRequest = 100;
const requestsAtOnce = 4;

/** Resolves when all of them sleep; rejects when they do not in time. */
export async function putToSleep(options: SleepersOptions): Promise<void> {
  const { urls, apiKey, database, count, untilMs, asleepWithinMs } = options;
  let begun = 0;
  const emit = async (url: string): Promise<void> => {
    while (begun < count) {
      const first = begun;
      begun = Math.min(count, begun + eventsPerRequest);
      const events = Array.from({ length: begun - first }, (_, n) => ({
        name: `${sleeperFunction}.started`,
        data: { untilMs: untilMs(first + n) },
      }));
      const headers = { 'content-type': 'application/json', authorization: `Bearer ${apiKey}` };
      const answer = await fetch(`${url}/v1/events`, {
        method: 'POST',
        headers,
        body: JSON.stringify(events),
      });
      await answer.arrayBuffer();
      if (!answer.ok) throw new Error(`events of sleepers were refused: status ${answer.status}`);
    }
  };
  await Promise.all(Array.from({ length: requestsAtOnce }, (_, n) => emit(urls[n % urls.length]!)));
  await eventually(
    async () => {
      const asleep = await countAsleep(database);
      if (asleep < count) throw new Error(`${asleep} of ${count} runs sleep`);
    },
    { timeoutMs: asleepWithinMs, intervalMs: 500 },
  );
}

async function countAsleep(database: Pick<Database, 'query'>): Promise<number> {
  const [row] = await database.query<{ asleep: number }>(
    { name: 'bench_asleep', text: 'select count(*)::int as asleep from timers' },
    [],
  );
  return row!.asleep;
}

export interface Lateness {
  p50Ms: number;
  p99Ms: number;
  maxMs: number;
  /** Negative if one was early. */
  minMs: number;
}

export interface TimerLateness {
  timers: number;
  /** From its due time until its run was woken in Postgres, by the clock of Postgres. */
  fired: Lateness;
  /** From its due time until the function's next step began, by the clock of the worker. */
  nextStep: Lateness;
}

/** Waits until all of them have ended. */
export async function readLateness(
  database: Pick<Database, 'query'>,
  { count, endedWithinMs }: { count: number; endedWithinMs: number },
): Promise<TimerLateness> {
  await eventually(
    async () => {
      const [row] = await database.query<{ ended: number }>(endedStatement, [sleeperFunction]);
      if (row!.ended < count) throw new Error(`${row!.ended} of ${count} runs have ended their sleep`);
    },
    { timeoutMs: endedWithinMs, intervalMs: 1_000 },
  );
  const rows = await database.query<{ fired: number; next: number }>(latenessStatement, [sleeperFunction]);
  return {
    timers: rows.length,
    fired: latenessOf(rows.map(({ fired }) => fired)),
    nextStep: latenessOf(rows.map(({ next }) => next)),
  };
}

/** Asked again and again while it is measured: it may not cost much. */
const endedStatement = {
  name: 'bench_ended',
  text: `select count(*)::int as ended from runs where function_id = $1 and status = 'completed'`,
};
const latenessStatement = {
  name: 'bench_lateness',
  text: `select extract(epoch from nap.ended_at - nap.due_at)::float8 * 1000 as fired,
                extract(epoch from woke.started_at - nap.due_at)::float8 * 1000 as next
         from runs r
         join steps nap on nap.run_id = r.id and nap.name = 'nap' and nap.status = 'completed'
         join steps woke on woke.run_id = r.id and woke.name = 'woke' and woke.status = 'completed'
         where r.function_id = $1 and r.status = 'completed'`,
};

/** Pure. */
export function latenessOf(all: number[]): Lateness {
  const sorted = [...all].sort((a, b) => a - b);
  const round = (value: number): number => Math.round(value * 10) / 10;
  return {
    p50Ms: quantile(sorted, 0.5),
    p99Ms: quantile(sorted, 0.99),
    maxMs: round(sorted.at(-1) ?? 0),
    minMs: round(sorted[0] ?? 0),
  };
}

/** Pure: what is wrong, in sentences. How late they may be is a goal, and told beside what was measured. */
export function problemsOfTimers({ fired, nextStep }: TimerLateness): string[] {
  const earliest = Math.min(fired.minMs, nextStep.minMs);
  return earliest < 0 ? [`a timer was ${-earliest} ms early`] : [];
}

/** As if they had never been: for what is measured without them afterwards. */
export async function removeSleepers(database: Pick<Database, 'query'>): Promise<void> {
  const ofSleepers = `where run_id in (select id from runs where function_id = $1)`;
  for (const [name, text] of [
    ['bench_remove_timers', `delete from timers ${ofSleepers}`],
    ['bench_remove_steps', `delete from steps ${ofSleepers}`],
    ['bench_remove_runs', 'delete from runs where function_id = $1'],
  ] as const) {
    await database.query({ name, text }, [sleeperFunction]);
  }
}
