import { setTimeout as delay } from 'node:timers/promises';
import { afterAll, beforeAll, expect, test } from '@jest/globals';
import { earliest, examine, readAcceptedSteps, readJournalTimes } from '@ironflow/bench';
import type { LedgerLine, StoredTimes } from '@ironflow/bench';
import type { Database } from '@ironflow/database';
import { connectJetStream } from '@ironflow/jetstream';
import type { JetStream } from '@ironflow/jetstream';
import { createFunction } from '@ironflow/sdk';
import { eventually } from '@ironflow/testing';
import { startPlatformUnderTest } from './platform-under-test.js';
import type { PlatformUnderTest, Tenant } from './platform-under-test.js';

const runsOfEach = 40;
const stepNames = ['one', 'two', 'three', 'four'];

let world: PlatformUnderTest;
let tenant: Tenant;
let jetstream: JetStream;
/** Each time a step was begun. When its result was stored, the journal tells: a function goes on before it knows. */
const begun: LedgerLine[] = [];

beforeAll(async () => {
  world = await startPlatformUnderTest({ IRONFLOW_SWEEP_INTERVAL_MS: '1000' });
  tenant = world.tenant;
  const url = world.platform.servers.natsUrl;
  jetstream = await connectJetStream({ url, name: 'end-to-end', replicas: 1 });
  await tenant.startWorker('outage-pull', [slow('outage-pull')]);
  await tenant.startPushApp('outage-push', [slow('outage-push')]);
}, 60_000);
afterAll(async () => {
  await jetstream?.close();
  await world?.stop();
}, 30_000);

test('PostgreSQL is killed: 503 and Retry-After, what runs goes on afterwards, nothing is lost', async () => {
  const postgres = world.platform.servers.postgres!;
  const ids = await emitMany('before');
  await midway();
  await postgres.kill();

  const refused = await emitRaw({ name: 'outage', data: 'while it is down', idempotencyKey: 'down' });
  expect(refused.status).toBe(503);
  expect(Number(refused.headers.get('retry-after'))).toBeGreaterThanOrEqual(1);
  expect(await refused.json()).toMatchObject({ error: { code: 'database_unavailable' } });
  const [read] = await Promise.all([
    fetch(`${world.platform.url}/v1/runs`, { headers: { authorization: `Bearer ${tenant.apiKey}` } }),
    delay(3_000),
  ]);
  expect(read.status).toBe(503);

  await postgres.restart();
  // The same request again, as a client does that was told to.
  const taken = await eventually(
    async () => {
      const answer = await emitRaw({ name: 'outage', data: 'while it is down', idempotencyKey: 'down' });
      if (answer.status !== 202) throw new Error(`status ${answer.status}`);
      return (await answer.json()) as { ids: string[] };
    },
    { timeoutMs: 10_000, intervalMs: 100 },
  );
  await allCompleted([...ids, ...taken.ids]);
  expectNoneTooLate(await journalTimes({ onlyKept: false }));
  expect((await tenant.client.events.list({ limit: 200, name: 'outage' })).events).toHaveLength(
    runsOfEach + 1,
  );
}, 60_000);

test('NATS is wiped in mid-run: every accepted event’s runs complete, nothing that Postgres had runs again', async () => {
  const nats = world.platform.servers.nats!;
  const ids = await emitMany('wiped');
  await midway();
  await nats.kill();
  // What only the journal had may run again.
  const accepted = await readAcceptedSteps(database);
  // Accepted without NATS: Postgres is the truth.
  const during = await emitMany('while NATS is away', 5);
  await nats.restart({ wipe: true });
  const after = await emitMany('after', 5);
  await allCompleted([...ids, ...during, ...after]);
  const repeats = expectNoneTooLate(earliest(accepted, await journalTimes({ onlyKept: true })));
  console.log(`outages: of ${begun.length} times that a step began ${repeats} were repeats`);
}, 60_000);

function slow(id: string) {
  return createFunction({ id, triggers: [{ event: 'outage' }] }, async ({ step, run }) => {
    for (const name of stepNames) {
      await step.run(name, async ({ attempt }) => {
        begun.push({ what: 'begun', run: run.id, step: name, attempt, atMs: Date.now() });
        await delay(100);
        return name;
      });
      if (name === 'two') await step.sleep('rest', '500ms');
    }
    return 'done';
  });
}

const database: Pick<Database, 'query'> = { query: ({ text }) => world.query(text) };

function journalTimes({ onlyKept }: { onlyKept: boolean }): Promise<StoredTimes> {
  return readJournalTimes({ connection: jetstream.connection, database, onlyKept });
}

function expectNoneTooLate(stored: StoredTimes): number {
  expect(stored.size).toBeGreaterThan(0);
  const { violations, repeats } = examine(begun, stored);
  expect(violations).toEqual([]);
  return repeats;
}

async function emitMany(data: string, count = runsOfEach): Promise<string[]> {
  return (await tenant.client.emit(Array.from({ length: count }, () => ({ name: 'outage', data })))).ids;
}

function emitRaw(body: object): Promise<Response> {
  return fetch(`${world.platform.url}/v1/events`, {
    method: 'POST',
    headers: { authorization: `Bearer ${tenant.apiKey}`, 'content-type': 'application/json' },
    body: JSON.stringify(body),
  });
}

async function midway(): Promise<void> {
  await eventually(async () => {
    const [row] = await world.query<{ count: number }>(
      'select count(*)::int as count from runs where journal_seq > 0 and ended_at is null',
    );
    if (row!.count < runsOfEach) throw new Error(`${row!.count} runs are mid-way`);
  });
}

/** Both runs of each event, each step once on record. */
async function allCompleted(eventIds: string[]): Promise<void> {
  await eventually(
    async () => {
      const statuses = await world.query<{ status: string; count: number }>(
        'select status, count(*)::int as count from runs where event_id = any($1::uuid[]) group by status',
        [eventIds],
      );
      const wanted = [{ status: 'completed', count: eventIds.length * 2 }];
      expect(statuses).toEqual(wanted);
    },
    { timeoutMs: 40_000, intervalMs: 100 },
  );
  const [steps] = await world.query<{ rows: number; attempts: number }>(
    `select count(*)::int as rows, max(attempt) as attempts from steps
     where type = 'run' and run_id in (select id from runs where event_id = any($1::uuid[]))`,
    [eventIds],
  );
  expect(steps).toEqual({ rows: eventIds.length * 2 * stepNames.length, attempts: 1 });
}
