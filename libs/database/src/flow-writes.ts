/** What a pass over the queue writes (flow-control.ts), each in one statement. */
import type { Statement } from './database.js';

// Runs first, then what hangs on them. A run that was ended, or woken for its end, since it was read is passed by.
export const admitStatement: Statement = {
  name: 'flow_admit',
  text: `with locked as materialized (
    select id, status from runs where id = any($2::uuid[]) and id >= $3 and id <= $4 order by id for update
  ), living as materialized (
    select id from locked where status = 'queued'
  ), skipped as (
    update runs r set status = 'skipped', skip_reason = g.reason, joined_run_id = g.joined_run_id,
      ended_at = date_trunc('milliseconds', now())
    from unnest($5::uuid[], $6::text[], $7::uuid[]) as g (id, reason, joined_run_id)
    where r.id = any(array(select id from living)) and r.id >= $3 and r.id <= $4 and r.id = g.id
      and r.environment_id = $1
    returning r.id
  ), gone as (
    delete from queue_entries where run_id = any(array(select id from skipped))
  ), disarmed as (
    delete from timers where run_id = any(array(select id from skipped))
  ), untaken as (
    delete from signals where run_id = any(array(select id from skipped))
  ), admitted as (
    update queue_entries set state = 'admitted', lane = null, due_at = null
    where run_id = any($8::uuid[]) and run_id = any(array(select id from living)) and environment_id = $1
    returning run_id
  ), woken as (
    update runs r set wake = r.wake + 1, woken_at = date_trunc('milliseconds', now())
    where r.id = any(array(select run_id from admitted)) and r.id >= $3 and r.id <= $4 and r.id = any($9::uuid[])
  ), taken as (
    insert into slots (environment_id, slot, run_id, kept)
    select $1, s.slot, s.run_id, s.kept from unnest($10::uuid[], $11::text[], $12::boolean[]) as s (run_id, slot, kept)
    join admitted on admitted.run_id = s.run_id
    on conflict (environment_id, slot, run_id) do update set leased_until = null, kept = excluded.kept
  )
  select (select json_agg(run_id) from admitted) as admitted,
    (select json_agg(json_build_array(id, (
      select json_agg(w.run_id) from waits w where w.kind = 'run' and w.awaited_run_id = skipped.id
    ))) from skipped) as skipped`,
};

export const rememberStatement: Statement = {
  name: 'flow_remember',
  text: `with moved as (
    update queue_entries q set state = g.state, lane = g.lane, due_at = to_timestamp(g.due_at_ms / 1000)
    from unnest($2::uuid[], $3::text[], $4::text[], $5::float8[]) as g (run_id, state, lane, due_at_ms)
    where q.run_id = any($2::uuid[]) and q.run_id = g.run_id and q.environment_id = $1
      and q.state in ('arrived', 'held', 'queued')
  ), left_lanes as (
    delete from queue_lanes where environment_id = $1 and lane = any($14::text[])
  ), kept_lanes as (
    insert into queue_lanes (environment_id, lane, function_id, resumed, slots, throttle, position, blocked_by, ready_at)
    select $1, l.lane, l.function_id, l.resumed, array(select json_array_elements_text(l.slots::json)), l.throttle,
      to_timestamp(l.position_ms / 1000), l.blocked_by, to_timestamp(l.ready_at_ms / 1000)
    from unnest($6::text[], $7::text[], $8::boolean[], $9::text[], $10::text[], $11::float8[], $12::text[], $13::float8[])
      as l (lane, function_id, resumed, slots, throttle, position_ms, blocked_by, ready_at_ms)
    on conflict (environment_id, lane) do update set position = excluded.position, blocked_by = excluded.blocked_by,
      ready_at = excluded.ready_at
  ), kept_states as (
    insert into flow_states (environment_id, function_id, rule, key_hash, next_at_ms, run_id, since_ms, due_at_ms, size,
      bytes, expires_at)
    select $1, s.function_id, s.rule, s.key_hash, s.next_at_ms, s.run_id, s.since_ms, s.due_at_ms, s.size, s.bytes,
      to_timestamp(s.expires_at_ms / 1000)
    from unnest($15::text[], $16::text[], $17::text[], $18::float8[], $19::uuid[], $20::float8[], $21::float8[],
      $22::int[], $23::int[], $24::float8[])
      as s (function_id, rule, key_hash, next_at_ms, run_id, since_ms, due_at_ms, size, bytes, expires_at_ms)
    on conflict (environment_id, function_id, rule, key_hash) do update set next_at_ms = excluded.next_at_ms,
      run_id = excluded.run_id, since_ms = excluded.since_ms, due_at_ms = excluded.due_at_ms, size = excluded.size,
      bytes = excluded.bytes, expires_at = excluded.expires_at
  ), left_states as (
    delete from flow_states s using unnest($25::text[], $26::text[], $27::text[]) as g (function_id, rule, key_hash)
    where s.environment_id = $1 and s.function_id = g.function_id and s.rule = g.rule and s.key_hash = g.key_hash
  )
  insert into run_events (run_id, place, environment_id, event_id)
  select g.run_id, g.place, $1, g.event_id from unnest($28::uuid[], $29::int[], $30::uuid[]) as g (run_id, place, event_id)
  on conflict (run_id, place) do nothing`,
};

// One that is on its way already, or that is to end or is at it, is passed by; so is one whose activation is out: it holds its slots.
export const requeueStatement: Statement = {
  name: 'flow_requeue',
  text: `with given as materialized (
    select id from runs where id = any($1::uuid[]) and id >= $2 and id <= $3
      and stop_requested_at is null and stopping_as is null and start_expired_at is null and limited
  ), back as (
    update queue_entries set state = 'arrived', resumed = true, position = now()
    where run_id = any(array(select id from given)) and state = 'resting'
    returning run_id, environment_id
  )
  select run_id, environment_id from back
  union all
  select run_id, environment_id from queue_entries
  where run_id = any(array(select id from given)) and state in ('arrived', 'held', 'queued')`,
};
