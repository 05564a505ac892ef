import { afterAll, beforeAll, expect, test } from '@jest/globals';
import { executorService } from '@ironflow/executor';
import { connectJetStream } from '@ironflow/jetstream';
import type { JetStream } from '@ironflow/jetstream';
import { circuitKey, circuitStateSchema } from '@ironflow/schema';
import type { CircuitState } from '@ironflow/schema';
import { createFunction } from '@ironflow/sdk';
import { eventually } from '@ironflow/testing';
import { startPlatformUnderTest } from './platform-under-test.js';
import type { PlatformUnderTest, Tenant } from './platform-under-test.js';
import type { PushApp } from './push-app.js';

const openMs = 1_500;
/** Every executor obeys a breaker within this. */
const obeyWithinMs = 1_000;
const runsWhileOpen = 20;

let world: PlatformUnderTest;
let tenant: Tenant;
let jetstream: JetStream;
let pushApp: PushApp;
let done = 0;

beforeAll(async () => {
  world = await startPlatformUnderTest({ IRONFLOW_BREAKER_OPEN_MS: String(openMs) });
  tenant = world.tenant;
  // A second executor: the probe is the only one of the whole fleet.
  await world.startReplica(executorService);
  jetstream = await connectJetStream({
    url: world.platform.servers.natsUrl,
    name: 'end-to-end',
    replicas: 1,
  });
  const retries = { attempts: 50, initialDelayMs: 400, factor: 1 };
  pushApp = await tenant.startPushApp('fragile', [
    createFunction({ id: 'fragile', triggers: [{ event: 'fragile' }], retries }, ({ step }) =>
      step.run('work', () => ++done),
    ),
  ]);
}, 60_000);
afterAll(async () => {
  await jetstream?.close();
  await world?.stop();
}, 30_000);

test('a breaker opens, lets nothing through, sends one probe, opens again, sends another, and closes', async () => {
  pushApp.isFailing = true;
  await tenant.client.emit({ name: 'fragile' });
  const opened = await stateBecomes('open');
  expect(opened.consecutiveFailures).toBe(5);

  // Open: what is emitted now waits, without a call and without an attempt.
  const { ids } = await tenant.client.emit(
    Array.from({ length: runsWhileOpen }, () => ({ name: 'fragile' })),
  );
  pushApp.isHolding = true;
  const callsBefore = await countWhen(waitingRuns, runsWhileOpen + 1);
  expect(callsBefore).toBeGreaterThanOrEqual(5);
  const late = pushApp.calls.filter(({ atMs }) => atMs > opened.openedAtMs! + obeyWithinMs);
  expect(late).toEqual([]);
  expect(await failuresOf(ids)).toBe(0);

  // Half-open: of all the runs that are due now one makes a call; it is held until everybody else has asked in vain.
  const probing = await stateBecomes('half_open');
  expect(probing.probe!.startedAtMs - opened.openedAtMs!).toBeGreaterThanOrEqual(openMs - 50);
  await probeIsAlone(callsBefore + 1);

  // The probe fails: open again, for as long again.
  pushApp.release();
  const reopened = await stateBecomes('open');
  expect(pushApp.calls).toHaveLength(callsBefore + 1);

  pushApp.isHolding = true;
  pushApp.isFailing = false;
  const again = await stateBecomes('half_open');
  expect(again.probe!.startedAtMs - reopened.openedAtMs!).toBeGreaterThanOrEqual(openMs - 50);
  await probeIsAlone(callsBefore + 2);

  pushApp.release();
  await stateBecomes('closed');
  for (const id of ids) expect(await tenant.endedRunsOf(id)).toMatchObject([{ status: 'completed' }]);
  expect(done).toBe(runsWhileOpen + 1);
  const { runs } = await tenant.client.runs.list({ function: 'fragile', limit: 100 });
  expect(runs.filter(({ status }) => status === 'completed')).toHaveLength(runsWhileOpen + 1);
}, 40_000);

test('one that is forced open for a time keeps every executor from calling, and its runs use no attempt', async () => {
  const { breakers } = tenant.client;
  const callsBefore = pushApp.calls.length;
  const { forced } = await breakers.open('fragile', { for: '3s' });
  const { ids } = await tenant.client.emit(
    Array.from({ length: runsWhileOpen }, () => ({ name: 'fragile' })),
  );
  await countWhen(waitingRuns, runsWhileOpen);
  const { runs } = await tenant.client.runs.list({ event: ids[0]! });
  const { waitingFor } = await tenant.client.runs.get(runs[0]!.id);
  expect(waitingFor?.rule).toBe('circuit_open');
  expect((await breakers.list({ state: 'open' })).breakers).toMatchObject([{ functionId: 'fragile' }]);
  for (const id of ids) expect(await tenant.endedRunsOf(id)).toMatchObject([{ status: 'completed' }]);
  expect(await failuresOf(ids)).toBe(0);
  const untilMs = Date.parse(forced!.until!);
  const early = pushApp.calls.slice(callsBefore).filter(({ atMs }) => atMs < untilMs);
  expect(early).toEqual([]);
  expect((await breakers.get('fragile')).state).toBe('closed');
}, 40_000);

function stateBecomes(wanted: CircuitState['state']): Promise<CircuitState> {
  const key = circuitKey({ ...tenant, functionId: 'fragile', endpoint: pushApp.url });
  return eventually(
    async () => {
      const entry = await jetstream.bucket('SYS_circuit_breakers').get(key);
      const state = circuitStateSchema.parse(JSON.parse(entry?.value ?? 'null'));
      if (state.state !== wanted) throw new Error(`the breaker is ${state.state}`);
      return state;
    },
    { timeoutMs: 10_000, description: wanted },
  );
}

/** The probe, which is held, is the last of so many calls; every other run waits. */
async function probeIsAlone(calls: number): Promise<void> {
  await eventually(() => expect(pushApp.calls.length).toBeGreaterThanOrEqual(calls), { timeoutMs: 10_000 });
  await countWhen(waitingRuns, runsWhileOpen);
  expect(pushApp.calls).toHaveLength(calls);
}

/** How many calls there were when as many runs as wanted were counted. */
function countWhen(count: () => Promise<number>, wanted: number): Promise<number> {
  return eventually(
    async () => {
      const counted = await count();
      if (counted !== wanted) throw new Error(`${counted} of ${wanted}`);
      return pushApp.calls.length;
    },
    { timeoutMs: 10_000 },
  );
}

async function waitingRuns(): Promise<number> {
  const [row] = await world.query<{ count: number }>(
    `select count(*)::int as count from runs where status = 'waiting'`,
  );
  return row!.count;
}

/** Attempts that the runs of these events have used. */
async function failuresOf(eventIds: string[]): Promise<number> {
  const [row] = await world.query<{ failures: number }>(
    'select coalesce(sum(failures), 0)::int as failures from runs where event_id = any($1::uuid[])',
    [eventIds],
  );
  return row!.failures;
}
