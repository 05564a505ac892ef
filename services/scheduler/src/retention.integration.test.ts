/**
 * Retention on real PostgreSQL: months of random runs, some of which live or are referred to; afterwards nothing that is needed is
 * missing, and nothing is left that is beyond its age.
 */
import { randomBytes } from 'node:crypto';
import { afterAll, beforeAll, expect, test } from '@jest/globals';
import {
  createDatabase,
  createEnvelope,
  createRetentionMonths,
  createRetentionRows,
  createTenantStore,
  listRetention,
  migrate,
  serviceUrl,
} from '@ironflow/database';
import type { Database } from '@ironflow/database';
import { createId, deriveRunId } from '@ironflow/schema';
import { createLogger, createMetrics } from '@ironflow/service';
import { sharedPostgres, stopSharedServers } from '@ironflow/testing';
import fc from 'fast-check';
import { createSchedulerMetrics } from './metrics.js';
import { createRetention } from './retention.js';

const dayMs = 86_400_000;
let owner: Database;
let service: Database;
let environments: string[];
/** At noon of a day, so that no age is at a border. */
const nowMs = Math.floor(Date.now() / dayMs) * dayMs + dayMs / 2;

beforeAll(async () => {
  const ownerUrl = await (await sharedPostgres()).createDatabase();
  await migrate({ ownerUrl, log: () => undefined, servicePasswords: { service: 's', tenant: 't' } });
  owner = createDatabase({ url: ownerUrl, applicationName: 'owner' });
  service = createDatabase({ url: serviceUrl(ownerUrl, 'ironflow_service', 's'), applicationName: 'test' });
  const tenants = createTenantStore(service, createEnvelope(randomBytes(32).toString('base64')));
  const made = ['one', 'two'].map((project) =>
    tenants.createEnvironment({ organization: 'acme', project, env: 'prod' }),
  );
  environments = (await Promise.all(made)).map(({ scope }) => scope.environmentId);
}, 60_000);
afterAll(async () => {
  await Promise.all([owner?.close(), service?.close()]);
  await stopSharedServers();
});

const asOwner = <Row>(text: string, values: unknown[] = []): Promise<Row[]> =>
  owner.query<Row>({ name: '', text }, values);

interface Model {
  /** Of the installation, and of each environment. */
  days: number | undefined;
  own: (number | undefined)[];
  runs: ModelRun[];
  /** Without a run, by age. */
  events: { environment: number; age: number; isRouted: boolean }[];
}

interface ModelRun {
  environment: number;
  age: number;
  status: 'completed' | 'failed' | 'skipped' | 'queued' | 'waiting';
  /** How much of its age has passed since its end. */
  endedShare: number;
  /** What else has to do with it; of two runs, the other is one that is as old or older. */
  bond: 'none' | 'awaited' | 'invoked' | 'joined' | 'letter' | 'replayed' | 'repeated';
  other: number;
}

const age = fc.integer({ min: 0, max: 260 });
const own = fc.constantFrom(undefined, undefined, 10, 60, 150);
const model: fc.Arbitrary<Model> = fc.record({
  days: fc.constantFrom(undefined, 35, 70, 100),
  own: fc.tuple(own, own),
  runs: fc.array(
    fc.record({
      environment: fc.nat(1),
      age,
      status: fc.constantFrom<ModelRun['status'][]>(
        ...Array<'completed'>(12).fill('completed'),
        ...(['failed', 'skipped', 'queued', 'waiting'] as const),
      ),
      endedShare: fc.double({ min: 0, max: 1, noNaN: true }),
      bond: fc.constantFrom<ModelRun['bond'][]>(
        ...Array<'none'>(8).fill('none'),
        ...(['awaited', 'invoked', 'joined', 'letter', 'replayed', 'repeated'] as const),
      ),
      other: fc.nat(),
    }),
    { minLength: 5, maxLength: 40 },
  ),
  events: fc.array(fc.record({ environment: fc.nat(1), age, isRouted: fc.boolean() }), { maxLength: 8 }),
});

interface StoredRun {
  id: string;
  eventId: string;
  environmentId: string;
  own: number | undefined;
  startedMs: number;
  /** Undefined while it lives. */
  endedMs: number | undefined;
  isReferredTo: boolean;
}

/** Every third month has no partition of its own: what is of it is in the default one. */
async function makeMonths(): Promise<void> {
  const names = await asOwner<{ name: string }>(`select c.relname as name from pg_inherits i
    join pg_class c on c.oid = i.inhrelid where c.relname ~ '^(events|runs|steps)_m[0-9]{6}$'`);
  for (const { name } of names) {
    if (monthStart(name.slice(-6)) < nowMs - 31 * dayMs) await asOwner(`drop table ${name}`);
  }
  const now = new Date(nowMs);
  for (let back = 2; back <= 10; back += 1) {
    if (back % 3 === 0) continue;
    const start = new Date(Date.UTC(now.getUTCFullYear(), now.getUTCMonth() - back));
    const month = start.toISOString().slice(0, 7).replace('-', '');
    for (const parent of ['events', 'runs', 'steps']) {
      const bound = (later: number) =>
        `lowest_id_at(timestamptz '${start.toISOString()}' + interval '${later} month')`;
      const bounds = await asOwner<{ lowest: string; ending: string }>(
        `select ${bound(0)} as lowest, (${bound(1)}) as ending`,
      );
      const { lowest, ending } = bounds[0]!;
      await asOwner(
        `create table ${parent}_m${month} partition of ${parent} for values from ('${lowest}') to ('${ending}')`,
      );
      await asOwner(`alter table ${parent}_m${month} owner to ironflow_owner`);
    }
  }
}

function monthStart(name: string): number {
  return Date.UTC(Number(name.slice(0, 4)), Number(name.slice(4)) - 1);
}

function monthEndOf(timeMs: number): number {
  const time = new Date(timeMs);
  return Date.UTC(time.getUTCFullYear(), time.getUTCMonth() + 1);
}

async function storeEvent(environmentId: string, timeMs: number, rerunOf?: string): Promise<string> {
  const id = createId(timeMs, randomBytes(10));
  await asOwner(
    `insert into events (id, environment_id, name, data, source, correlation_id, received_at, rerun_of)
     values ($1, $2, 'a', '1', 'http', $1::uuid::text, to_timestamp($3::float8 / 1000), $4)`,
    [id, environmentId, timeMs, rerunOf ?? null],
  );
  return id;
}

async function storeUnrouted(environmentId: string, eventId: string): Promise<void> {
  await asOwner('insert into unrouted_events (event_id, environment_id) values ($1, $2)', [
    eventId,
    environmentId,
  ]);
}

async function storeRun(of: ModelRun, { own: ages }: Model): Promise<StoredRun> {
  const environmentId = environments[of.environment]!;
  const startedMs = nowMs - (of.age + 1) * dayMs;
  const isLive = of.status === 'queued' || of.status === 'waiting';
  const endedMs = isLive ? undefined : nowMs - (of.age * of.endedShare + 0.5) * dayMs;
  const eventId = await storeEvent(environmentId, startedMs);
  const id = deriveRunId({ environmentId, eventId, functionId: 'f' });
  const wake = of.status === 'queued' ? 1 : 0;
  await asOwner(
    `insert into runs (id, environment_id, event_id, app_id, function_id, function_hash, mode, status, correlation_id, wake,
       created_at, ended_at)
     values ($1, $2, $3, 'app', 'f', 'h', 'pull', $4, 'c', $5, to_timestamp($6::float8 / 1000), to_timestamp($7::float8 / 1000))`,
    [id, environmentId, eventId, of.status, wake, startedMs, endedMs ?? null],
  );
  const step = (values: string) => asOwner(values, [id, environmentId]);
  await step(`insert into steps (run_id, step_id, attempt, environment_id, name, type, status, started_at)
    values ($1, 's', 1, $2, 's', 'run', 'completed', now())`);
  await step(
    `insert into signals (run_id, id, environment_id, name) values ($1, gen_random_uuid(), $2, 'n')`,
  );
  if (of.status === 'waiting') {
    await step(`insert into timers (run_id, step_id, attempt, environment_id, due_at)
      values ($1, 's', 1, $2, now() + interval '1 year')`);
  }
  return { id, eventId, environmentId, own: ages[of.environment], startedMs, endedMs, isReferredTo: false };
}

/** Answers whether it is referred to by something that is not over. */
async function bind(run: StoredRun, of: ModelRun, other: StoredRun | undefined): Promise<boolean> {
  const { id, environmentId } = run;
  const isOtherLive = other !== undefined && other.endedMs === undefined;
  if (of.bond === 'letter' || of.bond === 'replayed') {
    await asOwner(
      `insert into dead_letters (id, environment_id, reason, detail, run_id, occurred_at, replayed_at)
       values (gen_random_uuid(), $1, 'run_failed', '', $2, now(), $3)`,
      [environmentId, id, of.bond === 'replayed' ? new Date() : null],
    );
    return of.bond === 'letter';
  }
  if (of.bond === 'repeated') {
    await storeUnrouted(environmentId, await storeEvent(environmentId, nowMs - 1, id));
    return true;
  }
  if (other === undefined || other.environmentId !== environmentId || other.startedMs > run.startedMs)
    return false;
  if (of.bond === 'invoked') {
    await asOwner(
      `insert into steps (run_id, step_id, attempt, environment_id, name, type, status, started_at, awaited_run_id)
       values ($1, 'i-' || $2::uuid, 1, $3, 'i', 'invoke', 'completed', now(), $2)`,
      [other.id, id, environmentId],
    );
    return isOtherLive;
  }
  if (of.bond === 'joined') {
    await asOwner('update runs set joined_run_id = $2 where id = $1', [id, other.id]);
    return isOtherLive;
  }
  if (of.bond !== 'awaited' || !isOtherLive) return false;
  await asOwner(
    `insert into waits (run_id, step_id, attempt, environment_id, kind, awaited_run_id, place)
     values ($1, 'w-' || $2::uuid, 1, $3, 'run', $2, 1)`,
    [other.id, id, environmentId],
  );
  return true;
}

async function store(
  of: Model,
): Promise<{ runs: StoredRun[]; unrouted: StoredEvent[]; routed: StoredEvent[] }> {
  await asOwner(`truncate events, runs, steps, signals, timers, waits, dead_letters, unrouted_events`);
  await makeMonths();
  for (const [index, days] of of.own.entries()) {
    await asOwner('update environments set retention_days = $2 where id = $1', [
      environments[index]!,
      days ?? null,
    ]);
  }
  const runs: StoredRun[] = [];
  for (const run of of.runs) runs.push(await storeRun(run, of));
  for (const [index, run] of of.runs.entries()) {
    const other = runs[run.other % runs.length];
    const isReferredTo = await bind(runs[index]!, run, other === runs[index] ? undefined : other);
    runs[index] = { ...runs[index]!, isReferredTo };
  }
  const events = { unrouted: [] as StoredEvent[], routed: [] as StoredEvent[] };
  for (const event of of.events) {
    const environmentId = environments[event.environment]!;
    const startedMs = nowMs - (event.age + 1) * dayMs;
    const id = await storeEvent(environmentId, startedMs);
    const kept = { id, environmentId, startedMs, own: of.own[event.environment] };
    events[event.isRouted ? 'routed' : 'unrouted'].push(kept);
    if (!event.isRouted) await storeUnrouted(environmentId, id);
  }
  return { runs, ...events };
}

type StoredEvent = Pick<StoredRun, 'id' | 'environmentId' | 'startedMs' | 'own'>;

interface Left {
  runs: string[];
  events: string[];
}

async function left(): Promise<Left> {
  const ids = async (table: string) =>
    (await asOwner<{ id: string }>(`select id from ${table} order by id`)).map(({ id }) => id);
  return { runs: await ids('runs'), events: await ids('events') };
}

async function hasMonth(timeMs: number): Promise<boolean> {
  const name = `runs_m${new Date(timeMs).toISOString().slice(0, 7).replace('-', '')}`;
  const [row] = await asOwner<{ found: boolean }>('select to_regclass($1) is not null as found', [name]);
  return row!.found;
}

const isOlder = (one: { startedMs: number; endedMs?: number | undefined }, days: number): boolean =>
  Math.max(one.startedMs, one.endedMs ?? 0) < nowMs - days * dayMs;

test('nothing that is needed is missing, and nothing is left that is beyond its age', async () => {
  await fc.assert(
    fc.asyncProperty(model, async (of) => {
      const { runs, unrouted, routed } = await store(of);
      const { days } = of;
      const isNeeded = (run: StoredRun): boolean => run.endedMs === undefined || run.isReferredTo;
      /** Decided before anything is removed. */
      const monthIsNeeded = (endMs: number): boolean => {
        const isOfMonth = ({ startedMs }: { startedMs: number }) => monthEndOf(startedMs) === endMs;
        const isKeepers = ({ own: age }: { own: number | undefined }) =>
          age !== undefined && nowMs - age * dayMs < endMs;
        return (
          runs.some((run) => isOfMonth(run) && (isNeeded(run) || !isOlder(run, days!) || isKeepers(run))) ||
          unrouted.some(isOfMonth) ||
          routed.some((event) => isOfMonth(event) && isKeepers(event))
        );
      };
      const monthsBefore = new Set<number>();
      for (const { startedMs } of [...runs, ...routed]) {
        if (await hasMonth(startedMs)) monthsBefore.add(monthEndOf(startedMs));
      }
      const isDropped = ({ startedMs }: { startedMs: number }): boolean => {
        const endMs = monthEndOf(startedMs);
        const isDue = days !== undefined && endMs <= nowMs - days * dayMs;
        return isDue && !monthIsNeeded(endMs) && monthsBefore.has(endMs);
      };
      const isBeyond = (one: StoredEvent | StoredRun): boolean =>
        one.own !== undefined ? isOlder(one, one.own) : days !== undefined && isOlder(one, days + 31);

      const metrics = createMetrics({ service: 'test' });
      const retention = createRetention({
        ...{ days, now: async () => nowMs, environments: () => listRetention(service) },
        months: createRetentionMonths(service),
        rows: createRetentionRows(service),
        metrics: createSchedulerMetrics(metrics),
        logger: createLogger({ service: 'test', level: 'silent' }),
      });
      await retention.runOnce(() => false);
      const after = await left();
      for (const run of runs) {
        const goes = !isNeeded(run) && (isBeyond(run) || isDropped(run));
        expect([run, after.runs.includes(run.id)]).toEqual([run, !goes]);
        expect([run, after.events.includes(run.eventId)]).toEqual([run, !goes]);
      }
      for (const event of unrouted) expect(after.events).toContain(event.id);
      for (const event of routed) {
        const goes = isBeyond(event) || isDropped(event);
        expect([event, after.events.includes(event.id)]).toEqual([event, !goes]);
      }
      for (const table of ['steps', 'signals', 'timers', 'waits', 'dead_letters']) {
        const orphans = await asOwner(
          `select from ${table} where run_id is not null and run_id not in (select id from runs)`,
        );
        expect([table, orphans]).toEqual([table, []]);
      }
      const steps = await asOwner(`select from runs where id not in (select run_id from steps)`);
      expect(steps).toEqual([]);
      await retention.runOnce(() => false);
      expect(await left()).toEqual(after);
      await metrics.stop();
    }),
    // A smaller case is looked for one database at a time, which takes longer than to read this one.
    { numRuns: 25, endOnFailure: true },
  );
}, 300_000);

test('a month that is kept is told of with why, and goes once nothing in it is needed', async () => {
  const now = new Date(nowMs);
  const startMs = Date.UTC(now.getUTCFullYear(), now.getUTCMonth() - 4, 10);
  const age = Math.floor((nowMs - startMs) / dayMs);
  const none = { environment: 0, age, endedShare: 1, bond: 'none', other: 0 } as const;
  const { runs } = await store({
    days: 60,
    own: [undefined, undefined],
    runs: [
      { ...none, status: 'waiting' },
      { ...none, status: 'completed' },
    ],
    events: [],
  });
  const metrics = createMetrics({ service: 'test' });
  const retention = createRetention({
    ...{ days: 60, now: async () => nowMs, environments: async () => [] },
    months: createRetentionMonths(service),
    rows: createRetentionRows(service),
    metrics: createSchedulerMetrics(metrics),
    logger: createLogger({ service: 'test', level: 'silent' }),
  });
  await retention.runOnce(() => false);
  expect((await left()).runs).toEqual(runs.map(({ id }) => id).sort());
  expect(await metrics.render()).toMatch(/scheduler_retention_months_kept\{.*reason="live".*\} 1\n/);
  await asOwner(`update runs set status = 'completed', ended_at = created_at`);
  await asOwner('truncate timers');
  await retention.runOnce(() => false);
  expect(await left()).toEqual({ runs: [], events: [] });
  expect(await hasMonth(runs[0]!.startedMs)).toBe(false);
  expect(await metrics.render()).toMatch(/scheduler_retention_months_kept\{.*reason="live".*\} 0\n/);
  await metrics.stop();
}, 60_000);
