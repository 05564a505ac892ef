/** What is counted and checked while faults are injected, in Postgres and in STEPS. */
import type { Database } from '@ironflow/database';
import type { JetStream } from '@ironflow/jetstream';
import { pullFunction } from './fault-functions.js';

export interface RunCounts {
  runs: number;
  midway: number;
  completed: number;
  failed: number;
}

export async function countRuns(database: Database): Promise<RunCounts> {
  const [row] = await database.query<RunCounts>(
    {
      name: 'faults_runs',
      text: `select count(*)::int as runs,
                    count(*) filter (where journal_seq > 0 and ended_at is null)::int as midway,
                    count(*) filter (where status = 'completed')::int as completed,
                    count(*) filter (where status = 'failed')::int as failed
             from runs where function_id like 'fault-%'`,
    },
    [],
  );
  return row!;
}

/** Events that did not get exactly one completed run of each of the two functions. */
export async function countUnserved(database: Database, eventIds: string[]): Promise<number> {
  const [row] = await database.query<{ served: number }>(
    {
      name: 'faults_served',
      text: `select count(*)::int as served from (
               select event_id from runs where event_id = any($1::uuid[]) and function_id like 'fault-%'
               group by event_id
               having count(*) = 2 and count(distinct function_id) = 2 and bool_and(status = 'completed')
             ) events`,
    },
    [eventIds],
  );
  return eventIds.length - row!.served;
}

/**
 * Waiting for a worker costs nothing: every run that is left waits in Postgres, none has used more than the one call that
 * was lost with the worker, and no activation is delivered to anybody. Those that were admitted before rest in STEPS.
 */
export async function checkIdleWithoutWorker(of: {
  database: Database;
  jetstream: JetStream;
  /** `countDeliveries` once the loss of the worker was dealt with. */
  deliveriesBefore: number;
}): Promise<string[]> {
  const [row] = await of.database.query<{ left: number; elsewhere: number; failures: number }>(
    {
      name: 'faults_idle',
      text: `select count(*)::int as left,
                    count(*) filter (where status <> 'waiting_for_worker')::int as elsewhere,
                    coalesce(max(failures), 0)::int as failures
             from runs where function_id = $1 and ended_at is null`,
    },
    [pullFunction],
  );
  const { left, elsewhere, failures } = row!;
  const delivered = (await countDeliveries(of.jetstream)) - of.deliveriesBefore;
  return [
    ...(left === 0 ? ['no run was left to wait for a worker'] : []),
    ...(elsewhere > 0 ? [`${elsewhere} of ${left} runs were not waiting for a worker`] : []),
    ...(failures > 1 ? [`a run used ${failures} calls while there was no worker`] : []),
    ...(delivered > 0 ? [`activations were delivered ${delivered} times to executors without a worker`] : []),
  ];
}

/** To executors with workers, ever: a delivery that comes again counts again. */
export async function countDeliveries({ connection }: JetStream): Promise<number> {
  const reply = await connection.request({ subject: '$JS.API.CONSUMER.LIST.STEPS', data: '' });
  if (reply.kind !== 'message') throw new Error(`STEPS cannot be read: ${reply.kind}`);
  const { consumers } = JSON.parse(Buffer.from(reply.data).toString('utf8')) as {
    consumers?: { name: string; delivered: { consumer_seq: number } }[];
  };
  const apps = consumers?.filter(({ name }) => name.startsWith('pull_')) ?? [];
  if (apps.length === 0) throw new Error('no pull app has a consumer');
  return apps.reduce((sum, { delivered }) => sum + delivered.consumer_seq, 0);
}
