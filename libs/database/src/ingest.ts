/**
 * What ingest stores: events with their idempotency keys, a whole batch in one statement. As ironflow_tenant
 * it sets its environment within that same statement, so that row-level security costs no round trip.
 *
 * 1. An event is stored together with its row in unrouted_events: it is never forgotten between the two.
 * 2. Of two uses of a key within its 24 hours one stores its event; the other is told that event's id. Used for an event
 *    of another name, to repeat another run or to fire another schedule, it is refused, and nothing of the batch is stored: it would swallow that
 *    event.
 * 3. Keys, then ids, are taken in order, so that concurrent batches wait for each other and never in a
 *    circle.
 */
import { IronflowError } from '@ironflow/errors';
import type { DeadLetter, EventSource, Failure, RunStatus, Scope } from '@ironflow/schema';
import type { Database, Queryable, Statement } from './database.js';
import { deadLetterToReplay, markReplayed, storeDeadLetters } from './dead-letters.js';
import type { DeadLetterToReplay } from './dead-letters.js';
import { createPlaceReader, createScopeReader } from './environment-scope.js';
import { boundsOf, windowsAround } from './id-windows.js';
import { countLettersToReplay, lettersToReplay } from './bulk-replays.js';
import type { FoundLetter, LettersToReplayQuery } from './bulk-replays.js';
import { countEventsToReplay, countRunsToRepeat, eventsToReplay, runsToRepeat } from './bulk-reruns.js';
import type { EventsToReplayQuery, EventToReplay, FoundRun, Page, RunsToRepeatQuery } from './bulk-reruns.js';
import { readRunToRepeat } from './reruns.js';
import type { RunToRepeat, RunToRepeatQuery } from './reruns.js';

export interface NewEvent {
  id: string;
  name: string;
  /** JSON text, kept as it is. */
  data: string;
  version?: string | undefined;
  source: EventSource;
  /** Its own id by default. */
  correlationId?: string | undefined;
  causationId?: string | undefined;
  traceparent?: string | undefined;
  idempotencyKey?: string | undefined;
  /** It starts this function alone, whatever the triggers say. */
  functionId?: string | undefined;
  /** The run that its run repeats; with `rerunFromStep`, taking over what settled before that step. */
  rerunOf?: string | undefined;
  rerunFromStep?: string | undefined;
  /** The schedule that is fired by hand under this key. */
  scheduleId?: string | undefined;
  /** Not before this; its id has this time. */
  atMs?: number | undefined;
}

export interface StoredEventReceipt {
  /** Of the first event, when its idempotency key was used before. */
  id: string;
  /** Nothing was stored: the key or the id was used before. */
  duplicate: boolean;
  receivedAtMs: number;
  correlationId: string;
  /** It was stored to be delivered in so many milliseconds. */
  dueInMs?: number;
}

export interface EventRuns {
  eventId: string;
  /** Until it is, runs may be missing. */
  routed: boolean;
  runs: {
    id: string;
    functionId: string;
    status: RunStatus;
    skipReason?: string;
    joinedRunId?: string;
    output?: string;
    error?: Failure;
  }[];
}

export interface IngestStore {
  /** One receipt for each event, in their order. Rejects with `idempotency_key_reused` by rule 2. */
  storeEvents(environmentId: string, events: readonly NewEvent[]): Promise<StoredEventReceipt[]>;
  /** `undefined` when this environment has no such run. */
  runToRepeat(query: RunToRepeatQuery): Promise<RunToRepeat | undefined>;
  /** The newest first; a page ends early when its payloads get large. */
  runsToRepeat(environmentId: string, query: RunsToRepeatQuery): Promise<Page<FoundRun>>;
  /** Of the same, those that were for all functions. */
  eventsToReplay(environmentId: string, query: EventsToReplayQuery): Promise<Page<EventToReplay>>;
  /** Up to the limit of the query. */
  countRunsToRepeat(environmentId: string, query: RunsToRepeatQuery): Promise<number>;
  countEventsToReplay(environmentId: string, query: EventsToReplayQuery): Promise<number>;
  /** The newest first. */
  lettersToReplay(environmentId: string, query: LettersToReplayQuery): Promise<Page<FoundLetter>>;
  countLettersToReplay(environmentId: string, query: LettersToReplayQuery): Promise<number>;
  /** In the order asked for; outputs are JSON text. */
  eventRuns(environmentId: string, eventIds: readonly string[]): Promise<EventRuns[]>;
  /** `undefined` when there is no environment of that id. What was found is kept. */
  scopeOf(environmentId: string): Promise<Scope | undefined>;
  /** The same of one that is named by the slugs in its subjects. */
  scopeAt(place: Pick<Scope, 'project' | 'env'>): Promise<Scope | undefined>;
  /** Once, by its id. Without an environment only the platform sees it. */
  storeDeadLetter(letter: DeadLetter): Promise<void>;
  /** `undefined` when this environment has no such letter. */
  deadLetterToReplay(environmentId: string, letterId: string): Promise<DeadLetterToReplay | undefined>;
  /** When it was replayed first, which may be now; `undefined` when it is not there any more. */
  markReplayed(environmentId: string, letterId: string): Promise<number | undefined>;
}

export function createIngestStore(database: Database): IngestStore {
  return {
    storeEvents: (environmentId, events) => storeEvents(database, environmentId, events),
    runToRepeat: (query) => readRunToRepeat(database, query),
    runsToRepeat: (environmentId, query) => runsToRepeat(database, environmentId, query),
    eventsToReplay: (environmentId, query) => eventsToReplay(database, environmentId, query),
    countRunsToRepeat: (environmentId, query) => countRunsToRepeat(database, environmentId, query),
    countEventsToReplay: (environmentId, query) => countEventsToReplay(database, environmentId, query),
    lettersToReplay: (environmentId, query) => lettersToReplay(database, environmentId, query),
    countLettersToReplay: (environmentId, query) => countLettersToReplay(database, environmentId, query),
    eventRuns: (environmentId, eventIds) =>
      database.inEnvironment(environmentId, (transaction) =>
        readEventRuns(transaction, environmentId, eventIds),
      ),
    scopeOf: createScopeReader(database),
    scopeAt: createPlaceReader(database),
    storeDeadLetter: (letter) => {
      if (letter.environmentId === undefined) return storeDeadLetters(database, [letter]);
      return database.inEnvironment(letter.environmentId, (transaction) =>
        storeDeadLetters(transaction, [letter]),
      );
    },
    deadLetterToReplay: (environmentId, letterId) => deadLetterToReplay(database, environmentId, letterId),
    markReplayed: (environmentId, letterId) => markReplayed(database, environmentId, letterId),
  };
}

interface StoredRow {
  id: string;
  /** Set on rows that tell whose a key is. */
  key: string | null;
  /** Set on rows that tell what was stored. */
  received_at_ms: number | null;
  /** Set on those that are not due yet. */
  due_in_ms?: number | null;
}

/** Events that are for one function, due later, or a schedule's by hand are few: the statement of batches without one does not know of them. */
function storeStatementFor(batches: 'ordinary' | 'any'): Statement {
  const isOrdinary = batches === 'ordinary';
  const columns = isOrdinary ? '' : ', function_id, rerun_of, rerun_from_step';
  const claim = isOrdinary ? 'name' : 'claim';
  const dueNow = isOrdinary ? '' : 'and (due_ms is null or to_timestamp(due_ms / 1000) <= now())';
  return {
    name: isOrdinary ? 'store_events' : 'store_any_events',
    text: `with environment as materialized (
    select set_config('ironflow.environment_id', $1, true)::uuid as id
  ), given as materialized (
    select environment.id as environment_id, g.*
    from environment, unnest($2::uuid[], $3::text[], $4::text[], $5::text[], $6::text[], $7::text[],
      $8::text[],
      $9::text[], $10::text[]${isOrdinary ? '' : ', $11::text[], $12::uuid[], $13::text[], $14::text[], $15::float8[]'})
      as g (id, name, data, version, source, correlation_id, causation_id,
        traceparent, key${columns}${isOrdinary ? '' : ', claim, due_ms'})
  ), claimed as (
    insert into idempotency_keys (environment_id, key, event_id, event_name)
    select environment_id, key, id, ${claim} from given where key is not null order by key
    on conflict (environment_id, key) do update set
      event_id = case when idempotency_keys.created_at < now() - interval '24 hours'
        then excluded.event_id else idempotency_keys.event_id end,
      event_name = case when idempotency_keys.created_at < now() - interval '24 hours'
        or idempotency_keys.event_name = excluded.event_name then excluded.event_name end,
      created_at = case when idempotency_keys.created_at < now() - interval '24 hours'
        then now() else idempotency_keys.created_at end
    returning key, event_id
  ), stored as (
    insert into events (id, environment_id, name, data, version, source, correlation_id, causation_id,
      traceparent${columns})
    select id, environment_id, name, data::json, version, source, correlation_id, causation_id, traceparent${columns}
    from given where (key is null or id in (select event_id from claimed)) ${dueNow} order by id
    on conflict (id) do nothing
    returning id, environment_id, received_at
  ), unrouted as (
    insert into unrouted_events (event_id, environment_id, received_at)
    select id, environment_id, received_at from stored
  )${isOrdinary ? '' : storingScheduled}
  select id, null as key, (extract(epoch from received_at) * 1000)::float8 as received_at_ms${isOrdinary ? '' : ', null::float8 as due_in_ms'} from stored
  union all select event_id, key, null${isOrdinary ? '' : ', null'} from claimed${isOrdinary ? '' : toldScheduled}`,
  };
}

const storingScheduled = `, scheduled as (
    insert into scheduled_events (id, environment_id, name, data, version, source, correlation_id, causation_id,
      traceparent, due_at)
    select id, environment_id, name, data::json, version, source, correlation_id, causation_id, traceparent,
      to_timestamp(due_ms / 1000)
    from given where (key is null or id in (select event_id from claimed)) and to_timestamp(due_ms / 1000) > now()
    order by id
    on conflict (id) do nothing
    returning id, created_at, due_at
  )`;
const toldScheduled = `
  union all select id, null, (extract(epoch from created_at) * 1000)::float8,
    (extract(epoch from due_at - clock_timestamp()) * 1000)::float8 from scheduled`;

const storeStatement = storeStatementFor('ordinary');
const storeAnyStatement = storeStatementFor('any');

async function storeEvents(
  database: Database,
  environmentId: string,
  events: readonly NewEvent[],
): Promise<StoredEventReceipt[]> {
  if (events.length === 0) return [];
  const firsts = firstUses(events);
  const column = <T>(pick: (event: NewEvent) => T): T[] => firsts.map(pick);
  const isOrdinary = firsts.every(
    ({ functionId, atMs, scheduleId }) =>
      functionId === undefined && atMs === undefined && scheduleId === undefined,
  );
  const storing = database.query<StoredRow>(isOrdinary ? storeStatement : storeAnyStatement, [
    environmentId,
    column((event) => event.id),
    column((event) => event.name),
    column((event) => event.data),
    column((event) => event.version ?? null),
    column((event) => event.source),
    column((event) => event.correlationId ?? event.id),
    column((event) => event.causationId ?? null),
    column((event) => event.traceparent ?? null),
    column((event) => event.idempotencyKey ?? null),
    ...(isOrdinary
      ? []
      : [
          column((event) => event.functionId ?? null),
          column((event) => event.rerunOf ?? null),
          column((event) => event.rerunFromStep ?? null),
          column(claimOf),
          column((event) => event.atMs ?? null),
        ]),
  ]);
  const rows = await storing.catch((error: unknown) => {
    throw constraintOf(error) === 'idempotency_key_reused' ? keyReused(error) : error;
  });
  const ownerOfKey = new Map<string, string>();
  const receivedAtMs = new Map<string, number>();
  const dueInMs = new Map<string, number>();
  for (const row of rows) {
    if (row.key !== null) ownerOfKey.set(row.key, row.id);
    else receivedAtMs.set(row.id, row.received_at_ms!);
    if (typeof row.due_in_ms === 'number') dueInMs.set(row.id, row.due_in_ms);
  }
  const idOf = (event: NewEvent): string =>
    (event.idempotencyKey === undefined ? undefined : ownerOfKey.get(event.idempotencyKey)) ?? event.id;

  const earlier = events.map(idOf).filter((id) => !receivedAtMs.has(id));
  const known = await readReceipts(database, environmentId, earlier);
  const answered = new Set<string>();
  return events.map((event) => {
    const id = idOf(event);
    const storedAtMs = receivedAtMs.get(id);
    const duplicate = storedAtMs === undefined || id !== event.id || answered.has(id);
    answered.add(id);
    if (storedAtMs !== undefined) {
      // A later use of a key within this batch: what was stored is its first use.
      const first = id === event.id ? event : firsts.find((candidate) => candidate.id === id)!;
      const receipt = { id, duplicate, receivedAtMs: storedAtMs, correlationId: first.correlationId ?? id };
      const dueIn = dueInMs.get(id);
      return dueIn === undefined ? receipt : { ...receipt, dueInMs: dueIn };
    }
    return { id, duplicate, ...(known.get(id) ?? unseen(event)) };
  });
}

/**
 * PostgreSQL refuses to meet one key twice in a statement: later uses within a batch are answered with the
 * first.
 */
function firstUses(events: readonly NewEvent[]): NewEvent[] {
  const ids = new Set<string>();
  const claimOfKey = new Map<string, string>();
  return events.filter((event) => {
    const { id, idempotencyKey: key } = event;
    const claim = key === undefined ? undefined : claimOfKey.get(key);
    if (claim !== undefined && claim !== claimOf(event)) throw keyReused();
    if (ids.has(id) || claim !== undefined) return false;
    ids.add(id);
    if (key !== undefined) claimOfKey.set(key, claimOf(event));
    return true;
  });
}

/** What an idempotency key is kept for: events of a name, repetitions of a run, or firings of a schedule. No event is named like the latter two. */
function claimOf({ name, rerunOf, scheduleId }: NewEvent): string {
  if (rerunOf !== undefined) return `ironflow.rerun.${rerunOf}`;
  return scheduleId === undefined ? name : `ironflow.schedule.${scheduleId}`;
}

function constraintOf(error: unknown): unknown {
  return error instanceof Error && 'constraint' in error ? error.constraint : undefined;
}

function keyReused(cause?: unknown): IronflowError {
  const rule =
    'an idempotency key is for events of one name, invocations of one function, reruns of one run or firings of one schedule: it was used for another within 24 hours';
  return new IronflowError('conflict', 'idempotency_key_reused', rule, { cause });
}

type Receipt = Pick<StoredEventReceipt, 'receivedAtMs' | 'correlationId'>;

/**
 * The id was taken by an event that this environment cannot see: ids are drawn at random, so somebody chose
 * it. It is answered like any repetition, which tells nothing of the other.
 */
function unseen(event: NewEvent): Receipt {
  return { receivedAtMs: Date.now(), correlationId: event.correlationId ?? event.id };
}

const receiptsStatement: Statement = {
  name: 'event_receipts',
  text: `select id, correlation_id, (extract(epoch from received_at) * 1000)::float8 as received_at_ms
    from events where id = any($1::uuid[]) and id >= $2 and id <= $3 and environment_id = $4`,
};

async function readReceipts(
  database: Database,
  environmentId: string,
  ids: readonly string[],
): Promise<Map<string, Receipt>> {
  if (ids.length === 0) return new Map();
  const { lowest, highest } = boundsOf(ids);
  const rows = await database.inEnvironment(environmentId, (transaction) =>
    transaction.query<{ id: string; correlation_id: string; received_at_ms: number }>(receiptsStatement, [
      ids,
      lowest,
      highest,
      environmentId,
    ]),
  );
  return new Map(
    rows.map((row) => [row.id, { receivedAtMs: row.received_at_ms, correlationId: row.correlation_id }]),
  );
}

const unroutedStatement: Statement = {
  name: 'unrouted_of',
  text: 'select event_id from unrouted_events where event_id = any($1::uuid[]) and environment_id = $2',
};

const eventRunsStatement: Statement = {
  name: 'event_runs',
  text: `select r.* from unnest($1::uuid[], $2::uuid[]) as w (lowest, ending)
    cross join lateral (
      select id, event_id, function_id, status, skip_reason, joined_run_id, output::text, error from runs
      where environment_id = $3 and id >= w.lowest and id < w.ending and event_id = any($4::uuid[])
      offset 0
    ) r order by r.id`,
};

interface EventRunRow {
  id: string;
  event_id: string;
  function_id: string;
  status: RunStatus;
  skip_reason: string | null;
  joined_run_id: string | null;
  output: string | null;
  error: Failure | null;
}

async function readEventRuns(
  transaction: Queryable,
  environmentId: string,
  eventIds: readonly string[],
): Promise<EventRuns[]> {
  // In this order: an event that is routed by the first answer has all its runs in the second.
  const unrouted = await transaction.query<{ event_id: string }>(unroutedStatement, [
    eventIds,
    environmentId,
  ]);
  const windows = windowsAround(eventIds);
  const rows = await transaction.query<EventRunRow>(eventRunsStatement, [
    windows.map((window) => window.lowest),
    windows.map((window) => window.end),
    environmentId,
    eventIds,
  ]);
  const waiting = new Set(unrouted.map((row) => row.event_id));
  const runsOf = new Map<string, EventRuns['runs']>(eventIds.map((id) => [id, []]));
  for (const row of rows) runsOf.get(row.event_id)?.push(toEventRun(row));
  return eventIds.map((eventId) => ({
    eventId,
    routed: !waiting.has(eventId),
    runs: runsOf.get(eventId)!,
  }));
}

function toEventRun(row: EventRunRow): EventRuns['runs'][number] {
  return {
    id: row.id,
    functionId: row.function_id,
    status: row.status,
    ...(row.skip_reason === null ? {} : { skipReason: row.skip_reason }),
    ...(row.joined_run_id === null ? {} : { joinedRunId: row.joined_run_id }),
    ...(row.output === null ? {} : { output: row.output }),
    ...(row.error === null ? {} : { error: row.error }),
  };
}
