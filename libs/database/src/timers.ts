/**
 * Timers that are due become wake-ups, in one statement: the timer goes, its step is flipped, its run is
 * woken.
 *
 * 1. Never early: due is decided by PostgreSQL's clock. Never lost: all of it commits together.
 * 2. The run's row lock covers its timers (the collector adds them under it), so runs are locked first, in
 *    the order of their ids. A run that somebody else holds is skipped: its timers are due still at the next
 *    pass.
 */
import type { Database, Statement } from './database.js';
import { runToActivate, scopeColumns } from './run-to-activate.js';
import type { RunToActivate, RunToActivateRow } from './run-to-activate.js';

export async function fireTimers(
  database: Database,
  limit: number,
): Promise<{ woken: RunToActivate[]; fired: number }> {
  const rows = await database.query<FiredRow>(fireStatement, [limit]);
  const woken = rows.filter((row): row is WokenRow => row.id !== null);
  return { woken: woken.map(runToActivate), fired: rows[0]?.fired ?? 0 };
}

export async function nextDueInMs(database: Database): Promise<number | undefined> {
  const rows = await database.query<{ in_ms: number }>(nextDueStatement, []);
  return rows[0]?.in_ms;
}

type WokenRow = RunToActivateRow & { fired: number };
type FiredRow = WokenRow | { fired: number; id: null };

// The runs of due timers are known only within the statement: their bounds come from subqueries, which
// PostgreSQL also uses to leave out partitions.
const fireStatement: Statement = {
  name: 'fire_timers',
  text: `with due as materialized (
    select run_id from timers where due_at <= now() order by due_at limit $1
  ), locked as materialized (
    select id from runs
    where id = any(array(select run_id from due))
      and id >= (select run_id from due order by run_id limit 1)
      and id <= (select run_id from due order by run_id desc limit 1)
    order by id for update skip locked
  ), fired as (
    delete from timers where run_id = any(array(select id from locked)) and due_at <= now()
    returning run_id, step_id, attempt
  ), flipped as (
    update steps s set
      status = case s.status when 'waiting' then 'completed' else 'errored' end,
      ended_at = case s.status when 'waiting' then now() else s.ended_at end
    from fired f
    where s.run_id = any(array(select id from locked))
      and s.run_id >= (select id from locked order by id limit 1)
      and s.run_id <= (select id from locked order by id desc limit 1)
      and s.run_id = f.run_id and s.step_id = f.step_id and s.attempt = f.attempt
      and s.status in ('waiting', 'retrying')
  ), woken as (
    update runs r set
      wake = r.wake + 1,
      woken_at = date_trunc('milliseconds', now()),
      status = case r.status when 'waiting' then 'queued' else r.status end
    where r.id = any(array(select run_id from fired))
      and r.id >= (select id from locked order by id limit 1)
      and r.id <= (select id from locked order by id desc limit 1)
      and r.status in ('queued', 'running', 'waiting', 'waiting_for_worker')
    returning r.id, r.environment_id, r.mode, r.app_id, r.function_id, r.event_id, r.status
  )
  select (select count(*)::int from fired) as fired,
    w.id, w.environment_id, w.mode, w.app_id, w.function_id, w.event_id, ${scopeColumns}
  from (values (1)) as always
  left join (woken w join environments e on e.id = w.environment_id) on w.status <> 'waiting_for_worker'`,
};

const nextDueStatement: Statement = {
  name: 'next_due',
  text: `select (extract(epoch from due_at - clock_timestamp()) * 1000)::float8 as in_ms
    from timers order by due_at limit 1`,
};
