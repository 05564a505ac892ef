import { afterAll, afterEach, beforeAll, expect, test } from '@jest/globals';
import { deriveRunId } from '@ironflow/schema';
import { eventually } from '@ironflow/testing';
import { startPlatformUnderTest } from './platform-under-test.js';
import type { PlatformUnderTest, Tenant } from './platform-under-test.js';
import { startWorkerProcess } from './worker-process.js';
import type { WorkerProcess } from './worker-process.js';

/** The goal is one second; the machine of a test is shared. */
const nextAttemptWithinMs = 3_000;

let world: PlatformUnderTest;
let tenant: Tenant;
let started: WorkerProcess[] = [];

beforeAll(async () => {
  world = await startPlatformUnderTest();
  tenant = world.tenant;
}, 60_000);
afterEach(async () => {
  for (const worker of started) worker.signal('SIGKILL');
  await Promise.all(started.map(({ ended }) => ended));
  started = [];
});
afterAll(() => world?.stop(), 30_000);

test('SIGTERM to a busy worker: it takes nothing new, finishes what runs, and ends; another takes the next', async () => {
  const busy = await start();
  const running = [await invoke(), await invoke()];
  for (const runId of running) await busy.tells({ kind: 'begun', step: 'second', runId });

  busy.signal('SIGTERM');
  await busy.tells({ kind: 'log', message: 'SIGTERM: finishing what runs' });
  const other = await start();
  const next = [await invoke(), await invoke(), await invoke()];
  // The busy one has free slots, and yet all of them begin at the other while its own two go on.
  for (const runId of next) await other.tells({ kind: 'begun', step: 'second', runId });
  expect(busy.begun('first').sort()).toEqual([...running].sort());

  busy.finishSteps();
  // As a process without a handler of its own ends by the signal: nothing was left to do.
  expect(await busy.ended).toEqual({ code: null, signal: 'SIGTERM' });
  other.finishSteps();
  for (const runId of [...running, ...next]) {
    const run = await tenant.ended(runId);
    expect(run.status).toBe('completed');
    expect(run.steps.map(({ id, attempt, status }) => `${id}#${attempt} ${status}`)).toEqual([
      'first#1 completed',
      'second#1 completed',
    ]);
  }
  const outputs = await Promise.all(running.map(async (runId) => (await tenant.ended(runId)).output));
  expect(new Set(outputs).size).toBe(1);
  expect(other.begun('first').sort()).toEqual([...next].sort());
});

test('a run that is still going when the time to stop is up is called again elsewhere at once', async () => {
  const busy = await start({ STOP_TIMEOUT_MS: '200' });
  const runId = await invoke();
  await busy.tells({ kind: 'begun', step: 'second', runId });
  const other = await start();

  busy.signal('SIGTERM');
  const stopped = await busy.tells({ kind: 'stopped' });
  expect(stopped.aborted).toBe(1);
  expect(await busy.ended).toEqual({ code: 0, signal: null });
  const again = await other.tells({ kind: 'begun', step: 'second', runId });
  console.log(
    `stopped worker: the next attempt began ${Math.round(again.heardMs - stopped.heardMs)} ms later`,
  );
  expect(again.heardMs - stopped.heardMs).toBeLessThan(nextAttemptWithinMs);
  // What was recorded is not run again.
  expect(other.begun('first')).toEqual([]);

  other.finishSteps();
  expect(await tenant.ended(runId)).toMatchObject({ status: 'completed' });
});

test('a worker is killed: the next attempt begins elsewhere within a second (D5)', async () => {
  const delaysMs: number[] = [];
  for (let round = 0; round < 3; round += 1) {
    const killed = await start();
    const runId = await invoke();
    await killed.tells({ kind: 'begun', step: 'second', runId });
    const other = await start();
    const killedMs = performance.now();
    killed.signal('SIGKILL');
    const again = await other.tells({ kind: 'begun', step: 'second', runId });
    delaysMs.push(Math.round(again.heardMs - killedMs));
    expect(other.begun('first')).toEqual([]);
    other.finishSteps();
    expect(await tenant.ended(runId)).toMatchObject({ status: 'completed' });
    other.signal('SIGKILL');
    await other.ended;
  }
  console.log(`killed worker: the next attempt began ${delaysMs.join(', ')} ms later`);
  expect(Math.max(...delaysMs)).toBeLessThan(nextAttemptWithinMs);
}, 40_000);

test('the only worker is killed: the run waits, without attempts, and the next worker that comes takes it', async () => {
  const killed = await start();
  const runId = await invoke();
  await killed.tells({ kind: 'begun', step: 'second', runId });
  killed.signal('SIGKILL');
  await killed.ended;
  await eventually(async () => {
    expect(await tenant.client.runs.get(runId)).toMatchObject({ status: 'waiting_for_worker' });
  });
  const next = await start();
  await next.tells({ kind: 'begun', step: 'second', runId });
  next.finishSteps();
  const run = await tenant.ended(runId);
  expect(run).toMatchObject({ status: 'completed' });
  expect(run.steps.map(({ id, attempt }) => `${id}#${attempt}`)).toEqual(['first#1', 'second#1']);
});

async function start(env: NodeJS.ProcessEnv = {}): Promise<WorkerProcess> {
  const worker = await startWorkerProcess(tenant, env);
  started.push(worker);
  return worker;
}

async function invoke(): Promise<string> {
  const { ids } = await tenant.client.invoke('hold');
  return deriveRunId({ environmentId: tenant.environmentId, eventId: ids[0]!, functionId: 'hold' });
}
