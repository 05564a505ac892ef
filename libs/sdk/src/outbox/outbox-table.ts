/** The table of an outbox: its definition and its statements. Pure. */
import { ConfigurationError } from '../configuration-error.js';

export const outboxTableDefault = 'ironflow_outbox';

/** No more are read and emitted at once. */
export const batchMax = 100;

const identifier = /^[a-z_][a-z0-9_]{0,47}(\.[a-z_][a-z0-9_]{0,47})?$/;

/** It becomes part of statements. */
export function requireTable(table: string): string {
  if (identifier.test(table)) return table;
  const rule =
    'must be a name such as "ironflow_outbox" or "shop.outbox": lower case letters, digits and "_"';
  throw new ConfigurationError(`table: ${rule}`, 'table');
}

/** Where relays are told of what was committed. */
export function channelOf(table: string): string {
  return table.replace('.', '_');
}

/** The statements that make the table; again they change nothing. */
export function outboxSchema(table: string = outboxTableDefault): string {
  const name = requireTable(table);
  return `create table if not exists ${name} (
  -- The order in which events were written.
  position bigint generated always as identity primary key,
  -- Of the event, for ever: emitted twice, it is one event.
  id uuid not null default gen_random_uuid(),
  -- Events of one key are emitted one after the other.
  key text,
  event json not null,
  written_at timestamptz not null default now(),
  -- The platform refused it for good, and why; it is not tried again as long as this is set.
  set_aside_at timestamptz,
  error text
);
create index if not exists ${channelOf(name)}_unsent on ${name} (position) where set_aside_at is null;
`;
}

/**
 * One statement with one parameter, and one answer without a type of its own: drivers differ in what they make of others. Events are text within
 * its list, or PostgreSQL would read what is escaped in their data, and it has no characters for "\u0000" and halves of pairs.
 */
export function insertText(table: string): string {
  return `with written as (
    insert into ${table} (key, event)
    select e->>'key', (e->>'event')::json from json_array_elements($1::json) with ordinality as w (e, place) order by place
    returning 1
  ) select count(pg_notify('${channelOf(table)}', '')) as written from (select from written limit 1) told`;
}

/**
 * The keys of the rows that come next and that no other relay is at work on. A relay holds a key until its transaction is over,
 * so whoever has it then sees what became of all rows before.
 */
export function lockKeysText(table: string): string {
  return `with next as materialized (
    select distinct key from (
      select key from ${table} where set_aside_at is null order by position limit ${batchMax}
    ) first where key is not null
  ) select key from next where pg_try_advisory_xact_lock(hashtextextended('${table} ' || key, 0))`;
}

export function takeText(table: string): string {
  // By the column: its text, which drivers keep whole, sorts otherwise.
  return `select o.position::text as place, o.id, o.event::text as event from ${table} o
    where o.set_aside_at is null and (o.key is null or o.key = any($1::text[]))
    order by o.position limit ${batchMax} for update skip locked`;
}

export function removeText(table: string): string {
  return `delete from ${table} where position = any($1::bigint[])`;
}

export function setAsideText(table: string): string {
  return `update ${table} set set_aside_at = now(), error = $2 where position = $1::bigint`;
}
