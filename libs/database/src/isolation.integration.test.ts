/** What crosses tenants: nothing (I8). The tables are read from the catalogue, so that none is forgotten. */
import { randomBytes } from 'node:crypto';
import { afterAll, beforeAll, expect, test } from '@jest/globals';
import { stopSharedServers } from '@ironflow/testing';
import {
  createPlatform,
  freshId,
  functionConfig,
  manifest,
  newEvent,
  newRun,
  startRuns,
} from '../test/platform.js';
import type { Platform } from '../test/platform.js';
import {
  claimFor,
  createApiStore,
  createApprovalStore,
  createAuditStore,
  createForcedBreakerStore,
  createCollectorStore,
  createConfigStore,
  createErasureStore,
  createExportStore,
  createExecutorStore,
  createIngestStore,
  createKvBucketStore,
  createOperatorKeyStore,
  createQuotaStore,
  createRegistryReader,
  createSchedulerStore,
  createSecretStore,
  createTenantAdmin,
  createNatsAccountStore,
  createWebhookStore,
  measureStorage,
  openEnvelope,
  recordDeliveries,
  registerApp,
  runStep,
} from './index.js';
import { tablesOfAudit, tablesOfEnvironments, tablesOfRuns } from './erasure.js';
import type { NewRun, Queryable } from './index.js';
import { exportedTables } from '@ironflow/schema';
import type { ExportedTable } from '@ironflow/schema';

let platform: Platform;
let tables: string[];

beforeAll(async () => {
  platform = await createPlatform();
  const { rows } = await platform.admin.query<{ name: string }>(`select relname as name from pg_class
    where relnamespace = 'public'::regnamespace and relkind in ('r', 'p') and not relispartition
      and relname <> '_prisma_migrations' order by 1`);
  tables = rows.map((row) => row.name);
  await fillEveryTable();
});

afterAll(async () => {
  await platform.close();
  await stopSharedServers();
});

async function fillEveryTable(): Promise<void> {
  const { scope } = platform.ours;
  const { environmentId } = scope;
  const cron = functionConfig('hourly', [{ cron: '0 * * * *', timezone: 'UTC' }]);
  await registerApp(platform.tenant, environmentId, manifest({ functions: [cron] }));
  await createIngestStore(platform.tenant).storeEvents(environmentId, [newEvent({ idempotencyKey: 'key' })]);
  const atMs = Date.now() + 86_400_000;
  await createIngestStore(platform.tenant).storeEvents(environmentId, [newEvent({ atMs })]);
  const [run] = await startRuns(platform, scope, 1);
  const collector = createCollectorStore(platform.service);
  const sleep = { id: 'nap', name: 'nap', attempt: 1, type: 'sleep', startedAtMs: 1 } as const;
  await collector.apply([
    {
      runId: run!.id,
      environmentId,
      prev: 0,
      journalSeq: 1,
      startedAtMs: 1,
      steps: [
        { ...sleep, status: 'waiting', due: { inMs: 3_600_000 } },
        {
          ...sleep,
          id: 'answer',
          type: 'wait_for_event',
          status: 'waiting',
          awaited: { kind: 'event', event: 'answered' },
          due: { inMs: 3_600_000 },
        },
      ],
    },
  ]);
  const output = '"large"';
  await createExecutorStore(platform.service).storeClaimed([
    { runId: run!.id, ...runStep, hash: claimFor(output).hash, environmentId, output },
  ]);
  const line = {
    environmentId,
    runId: run!.id,
    id: freshId(),
    atMs: 1,
    level: 'info',
    message: 'm',
  } as const;
  await createExecutorStore(platform.service).storeLogLines([line], 1);
  await createApiStore(platform.tenant).sendSignal(environmentId, {
    runId: run!.id,
    id: freshId(),
    name: 'go',
    data: undefined,
  });
  const breaker = { environmentId, functionId: 'hourly', endpoint: 'worker' };
  await createForcedBreakerStore(platform.tenant).force(breaker, undefined);
  await createApprovalStore(platform.tenant, platform.secrets).createLink(
    environmentId,
    { runId: run!.id, name: 'manager' },
    randomBytes(32),
  );
  const { tenant: database, service: platformDatabase, secrets } = platform;
  const secretStore = createSecretStore({ database, platformDatabase, secrets });
  await secretStore.set(environmentId, { name: 'TOKEN', value: 'ours' });
  await openEnvelope(platform.tenant, platform.masterKey);
  const bucket = { history: 1, maxBytes: 1 };
  await createKvBucketStore(platform.tenant).put(environmentId, 'carts', bucket);
  const document = { name: 'prices', data: '{}', revision: undefined };
  await createConfigStore(platform.tenant).put(environmentId, document);
  const webhooks = createWebhookStore(platform.tenant, platform.secrets);
  await webhooks.create(environmentId, { id: 'hub', provider: 'github', headers: [] });
  await recordDeliveries(platform.tenant, environmentId, [
    { id: freshId(), sourceId: 'hub', status: 'accepted' },
  ]);
  await createNatsAccountStore(platform.tenant, platform.secrets).create(platform.ours.scope, {
    ...{ name: 'shop', expiresInSeconds: 3_600 },
    makeAccount: () => ({ publicKey: 'account', seed: 'seed' }),
    makeUser: async () => ({ publicKey: 'user', text: 'creds' }),
    tellServers: async () => undefined,
  });
  const answered = newEvent({ name: 'answered' });
  await createIngestStore(platform.tenant).storeEvents(environmentId, [answered]);
  const registryVersion = (await createRegistryReader(platform.service).get(environmentId)).version;
  await createSchedulerStore(platform.service).routeEvents(
    [{ id: answered.id, environmentId, awaitedAs: answered.name, cancels: false, registryVersion }],
    [],
  );
  const letter = { subject: 's', reason: 'unreadable', detail: 'd', payload: '', occurredAtMs: 1 } as const;
  await collector.storeDeadLetters([{ id: freshId(), environmentId, ...letter }]);
  await fillFlowControl(environmentId, run!);
  await createAuditStore(platform.tenant).append(environmentId, {
    ...{ actor: { kind: 'key', id: 'key' }, action: 'run.cancel', target: { kind: 'runs' } },
    ...{ outcome: 'done', count: 1, details: {} },
  });
  await createOperatorKeyStore(platform.service, platform.secrets).create({ name: 'ops' });
  await createQuotaStore(platform.tenant).set(environmentId, { queuedRuns: 10 });
  await measureStorage(platform.service, 100);
}

/** As a pass over its queue leaves it. */
async function fillFlowControl(environmentId: string, run: NewRun): Promise<void> {
  const { id: runId, eventId } = run;
  const rows: [string, unknown[]][] = [
    [
      `insert into queue_entries (run_id, environment_id, event_id, function_id, state, keys, bytes, received_at,
        position) values ($1, $2, $3, 'ship', 'admitted', '{}', 0, now(), now())`,
      [runId, environmentId, eventId],
    ],
    [
      `insert into queue_lanes (environment_id, lane, function_id, resumed, slots, position, ready_at)
        values ($1, 'lane', 'ship', false, '{}', now(), now())`,
      [environmentId],
    ],
    [`insert into slots (environment_id, slot, run_id) values ($1, 'slot', $2)`, [environmentId, runId]],
    [
      `insert into flow_states (environment_id, function_id, rule, key_hash, expires_at)
        values ($1, 'ship', 'throttle', 'hash', now() + interval '1 day')`,
      [environmentId],
    ],
    [
      'insert into run_events (run_id, place, environment_id, event_id) values ($1, 0, $2, $3)',
      [runId, environmentId, eventId],
    ],
  ];
  for (const [text, values] of rows) await platform.admin.query(text, values);
}

/** How many rows the tenant's role sees; a table it may not read at all counts as none. */
async function visible(transaction: Queryable, table: string): Promise<number> {
  await transaction.query({ name: '', text: 'savepoint before_reading' }, []);
  try {
    const rows = await transaction.query<{ count: number }>(
      { name: '', text: `select count(*)::int from ${table}` },
      [],
    );
    return rows[0]!.count;
  } catch (error) {
    expect(error).toMatchObject({ code: '42501' });
    await transaction.query({ name: '', text: 'rollback to savepoint before_reading' }, []);
    return 0;
  }
}

test('row-level security is enabled and forced on every table', async () => {
  const { rows } = await platform.admin.query(`select relname from pg_class
    where relnamespace = 'public'::regnamespace and relkind in ('r', 'p') and not relispartition
      and relname <> '_prisma_migrations' and not (relrowsecurity and relforcerowsecurity)`);
  expect(rows).toEqual([]);
});

test('every tenant row has its environment: the column is there and not null', async () => {
  const { rows } = await platform.admin.query<{ name: string }>(
    `select c.relname as name from pg_class c
    where c.relname = any($1) and not exists (select from pg_attribute a
      where a.attrelid = c.oid and a.attname = 'environment_id' and a.attnotnull) order by 1`,
    [tables],
  );
  // Above environments, the environment itself, and letters so broken that nobody knows whose they are.
  expect(rows.map((row) => row.name)).toEqual([
    'dead_letters',
    'environments',
    'operator_keys',
    'organizations',
    'platform_keys',
    'projects',
  ]);
});

test('there is something to see in every table', async () => {
  for (const table of tables) {
    const { rowCount } = await platform.admin.query(`select 1 from ${table} limit 1`);
    expect([table, rowCount]).toEqual([table, 1]);
  }
});

test('with no environment set the tenant role sees no row of any table', async () => {
  await platform.tenant.transaction(async (transaction) => {
    for (const table of tables) expect([table, await visible(transaction, table)]).toEqual([table, 0]);
  });
});

test('with another environment set it sees no row of ours', async () => {
  const { environmentId } = platform.theirs.scope;
  await platform.tenant.inEnvironment(environmentId, async (transaction) => {
    for (const table of tables) {
      // Their own, which they began with.
      const own = ['environments', 'api_keys', 'signing_keys'].includes(table) ? 1 : 0;
      expect([table, await visible(transaction, table)]).toEqual([table, own]);
    }
  });
});

test('with its own environment set it sees what it serves, and no credentials beyond', async () => {
  const seen: string[] = [];
  await platform.tenant.inEnvironment(platform.ours.scope.environmentId, async (transaction) => {
    for (const table of tables) if ((await visible(transaction, table)) > 0) seen.push(table);
  });
  const hidden = [
    'awaited_events',
    'claimed_outputs',
    'environment_data_keys',
    'operator_keys',
    'organizations',
    'platform_keys',
    'projects',
  ];
  expect(seen).toEqual(tables.filter((table) => !hidden.includes(table)));
});

test('the setting ends with its transaction and is not left on the connection', async () => {
  const { environmentId } = platform.ours.scope;
  await Promise.all(
    Array.from({ length: 20 }, () => platform.tenant.inEnvironment(environmentId, async () => {})),
  );
  await createIngestStore(platform.tenant).storeEvents(environmentId, [newEvent()]);
  const counts = await Promise.all(
    Array.from({ length: 20 }, () =>
      platform.tenant.query<{ count: number }>({ name: '', text: 'select count(*)::int from events' }, []),
    ),
  );
  expect(counts.flat()).toEqual(counts.map(() => ({ count: 0 })));
});

test('no service role reaches a partition directly', async () => {
  const { rows } = await platform.admin.query<{ name: string }>(
    `select relname as name from pg_class where relispartition and relkind = 'r'`,
  );
  expect(rows.length).toBeGreaterThanOrEqual(12);
  for (const database of [platform.service, platform.tenant]) {
    for (const { name } of rows) {
      await expect(database.query({ name: '', text: `select 1 from ${name}` }, [])).rejects.toMatchObject({
        code: '42501',
      });
    }
  }
});

test('the tenant role cannot write into another environment, nor run what is not its own', async () => {
  const ours = platform.ours.scope.environmentId;
  const event = newEvent();
  await expect(
    platform.tenant.inEnvironment(platform.theirs.scope.environmentId, (transaction) =>
      transaction.query(
        {
          name: '',
          text: `insert into events (id, environment_id, name, data, source, correlation_id)
            values ($1, $2, 'a', '1', 'http', 'c')`,
        },
        [event.id, ours],
      ),
    ),
  ).rejects.toMatchObject({ code: '42501' });
  await expect(
    platform.tenant.inEnvironment(ours, (transaction) =>
      transaction.query({ name: '', text: `update runs set status = 'completed'` }, []),
    ),
  ).rejects.toMatchObject({ code: '42501' });
  const [theirRun] = await startRuns(platform, platform.theirs.scope, 1);
  await platform.tenant.inEnvironment(ours, (transaction) =>
    transaction.query({ name: '', text: 'select request_stop($1)' }, [theirRun!.id]),
  );
  await platform.tenant.query({ name: '', text: 'select request_stop($1)' }, [theirRun!.id]);
  const stopped = await platform.admin.query(
    'select 1 from runs where id = $1 and stop_requested_at is not null',
    [theirRun!.id],
  );
  expect(stopped.rows).toEqual([]);
  await expect(
    platform.tenant.query({ name: '', text: `select ensure_partitions('events')` }, []),
  ).rejects.toMatchObject({ code: '42501' });
});

test('a batch for one environment moves no run of another', async () => {
  const [theirRun] = await startRuns(platform, platform.theirs.scope, 1);
  const accepted = await createCollectorStore(platform.service).apply([
    {
      runId: theirRun!.id,
      environmentId: platform.ours.scope.environmentId,
      prev: 0,
      journalSeq: 1,
      startedAtMs: 1,
      steps: [],
    },
  ]);
  expect(accepted).toEqual([]);
});

test('an event is not routed as another environment’s', async () => {
  const event = newEvent();
  await createIngestStore(platform.tenant).storeEvents(platform.theirs.scope.environmentId, [event]);
  const scheduler = createSchedulerStore(platform.service);
  const { environmentId } = platform.ours.scope;
  const outcome = await scheduler.routeEvents(
    [{ id: event.id, awaitedAs: event.name, cancels: false, environmentId, registryVersion: 1 }],
    [newRun(platform.ours.scope, event.id)],
  );
  expect(outcome).toEqual({ routed: [], awaited: [], stale: [], settled: [event.id] });
});

test('of keys the tenant role reads neither hashes nor what is sealed, and changes neither role nor scopes', async () => {
  const tried = [
    'select key_hash from api_keys',
    'select sealed from signing_keys',
    `update api_keys set role = 'admin'`,
    `update api_keys set scopes = '{}'`,
    'delete from api_keys',
    'delete from signing_keys',
  ];
  for (const text of tried) {
    const asking = platform.tenant.inEnvironment(platform.ours.scope.environmentId, (transaction) =>
      transaction.query({ name: '', text }, []),
    );
    await expect(asking).rejects.toMatchObject({ code: '42501' });
  }
});

test('every table with an environment is in the lists of what is erased', async () => {
  const { rows } = await platform.admin.query<{ name: string }>(
    `select c.relname as name from pg_class c join pg_attribute a on a.attrelid = c.oid
    where c.relname = any($1) and a.attname = 'environment_id' order by 1`,
    [tables],
  );
  const erased = [...tablesOfRuns, ...tablesOfEnvironments, ...tablesOfAudit, 'runs'].sort();
  expect(erased).toEqual(rows.map(({ name }) => name));
});

test('an export has every row of its environment, in whatever pages, and nothing that is another’s or sealed', async () => {
  const { environmentId } = platform.ours.scope;
  const theirs = platform.theirs.scope.environmentId;
  await startRuns(platform, platform.theirs.scope, 2);
  await startRuns(platform, platform.ours.scope, 3);
  const store = createExportStore(platform.tenant);
  const read = async (table: ExportedTable, limit: number): Promise<string[]> => {
    const rows: string[] = [];
    let cursor: string | undefined;
    do {
      const page = await store.page(environmentId, table, { limit, cursor });
      expect(page.rows.length).toBeLessThanOrEqual(limit);
      rows.push(...page.rows);
      cursor = page.nextCursor;
    } while (cursor !== undefined);
    return rows;
  };
  for (const table of exportedTables) {
    const { rows: stored } = await platform.admin.query<{ count: number }>(
      `select count(*)::int as count from ${table} where environment_id = $1`,
      [environmentId],
    );
    const rows = await read(table, 1_000);
    expect([table, rows.length]).toEqual([table, stored[0]!.count]);
    expect([table, rows.length > 0]).toEqual([table, true]);
    expect(await read(table, 1)).toEqual(rows);
    for (const row of rows) {
      expect(JSON.parse(row)).toMatchObject({ environment_id: environmentId });
      expect(row).not.toContain(theirs);
      expect(row).not.toMatch(/"(sealed|key_hash)"/);
    }
  }
});

test('pages of runs go on where none of their runs has a row, and a cursor that is none is refused', async () => {
  const { scope } = platform.ours;
  const store = createExportStore(platform.tenant);
  await startRuns(platform, scope, 600);
  const first = await store.page(scope.environmentId, 'signals', { limit: 1_000 });
  expect(first).toMatchObject({ nextCursor: expect.any(String) });
  const second = await store.page(scope.environmentId, 'signals', {
    ...{ limit: 1_000, cursor: first.nextCursor },
  });
  expect(second).toEqual({ rows: [] });
  const place = (...values: unknown[]) => Buffer.from(JSON.stringify(values)).toString('base64url');
  const id = freshId();
  for (const cursor of ['', '{', place(), place('x'), place(1), place(id, 2, 3), place(id, '\0'), 'null']) {
    await expect(
      Promise.resolve().then(() => store.page(scope.environmentId, 'timers', { limit: 1, cursor })),
    ).rejects.toMatchObject({ code: 'cursor_invalid' });
  }
});

test('an environment is erased whole once its grace has ended, and nothing of another is', async () => {
  const { scope } = platform.ours;
  const erasure = createErasureStore(platform.service);
  const countOf = async (environmentId: string): Promise<[string, number][]> => {
    const counts: [string, number][] = [];
    for (const table of [...tablesOfRuns, ...tablesOfEnvironments, ...tablesOfAudit, 'runs']) {
      const text = `select count(*)::int as count from ${table} where environment_id = $1`;
      const { rows } = await platform.admin.query<{ count: number }>(text, [environmentId]);
      counts.push([table, rows[0]!.count]);
    }
    return counts;
  };
  await startRuns(platform, scope, 3);
  const theirs = await countOf(platform.theirs.scope.environmentId);
  expect((await countOf(scope.environmentId)).filter(([, count]) => count === 0)).toEqual([]);
  await createTenantAdmin(platform.service, platform.secrets).delete(scope, 0);
  expect(await erasure.due(10)).toEqual([]);
  await platform.admin.query('update environments set erase_after = now() where id = $1', [
    scope.environmentId,
  ]);
  expect(await erasure.due(10)).toEqual([scope]);
  expect(await erasure.erase(scope.environmentId, () => true)).toBe(false);
  expect(await erasure.erase(scope.environmentId, () => false)).toBe(true);
  await erasure.markErased(scope.environmentId);
  expect((await countOf(scope.environmentId)).filter(([, count]) => count > 0)).toEqual([]);
  expect(await countOf(platform.theirs.scope.environmentId)).toEqual(theirs);
  expect(await erasure.due(10)).toEqual([]);
});
