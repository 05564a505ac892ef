/**
 * Events that are accepted and not due yet. Stored by ingest with all others (ingest.ts); listed and cancelled for a tenant; moved to
 * where events are as they become due.
 *
 * 1. Never early: PostgreSQL's clock says what is due. Never lost, never twice: one statement removes the row and stores the event.
 * 2. Every scheduler may move: rows are taken with `skip locked`. Who cancels one and who moves it want the same row: one has it.
 */
import type {
  ScheduledEvent,
  ScheduledEventsPage,
  ScheduledEventsQuery,
  StoredEvent,
} from '@ironflow/schema';
import { uuidSchema } from '@ironflow/schema';
import { IronflowError } from '@ironflow/errors';
import type { Database, Statement } from './database.js';
import { scopeColumns } from './environment-scope.js';
import { lowestId } from './id-windows.js';
import { cutPage, pageBytesMax } from './page.js';
import type { PageRow } from './page.js';
import { storedEventColumns, toStoredEvent } from './stored-event.js';
import type { StoredEventRow } from './stored-event.js';

/** Events to be routed; they are stored now. */
export async function moveDueEvents(database: Database, limit: number): Promise<StoredEvent[]> {
  return (await database.query<StoredEventRow>(moveStatement, [limit])).map(toStoredEvent);
}

/** Negative when one is overdue. */
export async function nextEventDueInMs(database: Database): Promise<number | undefined> {
  const [row] = await database.query<{ in_ms: number }>(nextStatement, []);
  return row?.in_ms;
}

/** The next one first. */
export async function listScheduledEvents(
  database: Database,
  environmentId: string,
  { limit, cursor = lowestId }: ScheduledEventsQuery,
): Promise<ScheduledEventsPage> {
  if (!uuidSchema.safeParse(cursor).success) {
    throw new IronflowError('invalid', 'cursor_invalid', 'the cursor must be the `nextCursor` of a page', {
      field: 'cursor',
    });
  }
  const rows = await database.inEnvironment(environmentId, (transaction) =>
    transaction.query<ScheduledEventRow>(listStatement, [environmentId, cursor, limit + 1, pageBytesMax]),
  );
  const page = cutPage(rows, limit);
  return {
    events: page.rows.map(toScheduledEvent),
    ...(page.nextCursor === undefined ? {} : { nextCursor: page.nextCursor }),
  };
}

/** Whether there was one. */
export async function cancelScheduledEvent(
  database: Database,
  environmentId: string,
  eventId: string,
): Promise<boolean> {
  const rows = await database.inEnvironment(environmentId, (transaction) =>
    transaction.query(cancelStatement, [environmentId, eventId]),
  );
  return rows.length > 0;
}

interface ScheduledEventRow extends PageRow {
  name: string;
  /** JSON text. */
  data: string;
  version: string | null;
  correlation_id: string;
  causation_id: string | null;
  due_at: Date;
  created_at: Date;
}

function toScheduledEvent(row: ScheduledEventRow): ScheduledEvent {
  return {
    id: row.id,
    name: row.name,
    data: JSON.parse(row.data) as unknown,
    ...(row.version === null ? {} : { version: row.version }),
    correlationId: row.correlation_id,
    ...(row.causation_id === null ? {} : { causationId: row.causation_id }),
    at: row.due_at.toISOString(),
    acceptedAt: row.created_at.toISOString(),
  };
}

const moveStatement: Statement = {
  name: 'move_due_events',
  text: `with due as (
    delete from scheduled_events where id = any(array(
      select id from scheduled_events where due_at <= now() order by due_at, id limit $1 for update skip locked))
    returning *
  ), stored as (
    insert into events (id, environment_id, name, data, version, source, correlation_id, causation_id, traceparent)
    select id, environment_id, name, data, version, source, correlation_id, causation_id, traceparent
    from due order by id
    on conflict (id) do nothing
    returning *
  ), unrouted as (
    insert into unrouted_events (event_id, environment_id, received_at)
    select id, environment_id, received_at from stored
  )
  select v.*, ${scopeColumns} from (select ${storedEventColumns} from stored) v
  join environments e on e.id = v.environment_id order by v.id`,
};
const nextStatement: Statement = {
  name: 'next_event_due',
  text: `select (extract(epoch from due_at - clock_timestamp()) * 1000)::float8 as in_ms
    from scheduled_events order by due_at limit 1`,
};
const listStatement: Statement = {
  name: 'list_scheduled_events',
  text: `select id, name, case when not beyond then data end as data, version, correlation_id, causation_id,
      due_at, created_at, beyond
    from (
      select *, coalesce(sum(octet_length(data)) over (
        order by id rows between unbounded preceding and 1 preceding), 0) > $4 as beyond
      from (
        select id, name, data::text, version, correlation_id, causation_id, due_at, created_at
        from scheduled_events where environment_id = $1 and id > $2 order by id limit $3
      ) p
    ) m order by id`,
};
const cancelStatement: Statement = {
  name: 'cancel_scheduled_event',
  text: 'delete from scheduled_events where environment_id = $1 and id = $2 returning id',
};
