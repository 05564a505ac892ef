/** Runs that are pinned to the build of the worker that drove them first, through every part of the platform. */
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { createFunction } from '@ironflow/sdk';
import type { IronflowFunction, Worker } from '@ironflow/sdk';
import { eventually } from '@ironflow/testing';
import { startPlatformUnderTest } from './platform-under-test.js';
import type { PlatformUnderTest, Tenant } from './platform-under-test.js';

let world: PlatformUnderTest;
let tenant: Tenant;
const patience = { timeoutMs: 20_000 };

beforeAll(async () => {
  world = await startPlatformUnderTest();
  ({ tenant } = world);
}, 60_000);
afterAll(() => world?.stop(), 30_000);

/** What holds a step up until the test lets it go, by app. */
const held = new Map<string, () => void>();

function functions(app: string, build: string): IronflowFunction[] {
  const config = (id: string) => ({ id: `${app}-${id}`, triggers: [{ event: `${app}.${id}` }], retries: 1 });
  return [
    createFunction(config('two-halves'), async ({ step }) => {
      const first = await step.run('first', () => build);
      await step.waitForSignal('go');
      return [first, await step.run('second', () => build)];
    }),
    createFunction(config('holding'), async ({ step }) => {
      const first = await step.run('first', () => build);
      await step.run('hold', () => new Promise<void>((resolve) => held.set(app, resolve)));
      return [first, build];
    }),
  ];
}
const startBuild = (app: string, buildId: string, pinRuns = true): Promise<Worker> =>
  tenant.startWorker(app, functions(app, buildId), 10, { buildId, pinRuns });
async function emit(name: string): Promise<string> {
  const { ids } = await tenant.client.emit({ name, data: null });
  return eventually(async () => (await tenant.client.runs.list({ event: ids[0]! })).runs[0]!.id, patience);
}
const becomes = (runId: string, status: string) =>
  eventually(async () => {
    const run = await tenant.client.runs.get(runId);
    expect(run.status).toBe(status);
    return run;
  }, patience);
const buildsOf = async (app: string) =>
  (await tenant.client.apps.list()).find(({ id }) => id === app)!.builds;
/** A run of the old build that waits for a signal while the new build is there too. */
async function pinnedRun(app: string): Promise<{ runId: string; old: Worker }> {
  const old = await startBuild(app, 'old');
  const runId = await emit(`${app}.two-halves`);
  expect(await becomes(runId, 'waiting')).toMatchObject({ buildId: 'old' });
  await startBuild(app, 'new');
  return { runId, old };
}

describe('a pinned run', () => {
  test('goes on with its own build only, while workers of both are there', async () => {
    const { runId } = await pinnedRun('both');
    const runIds = [runId, ...(await Promise.all(Array.from({ length: 8 }, () => emit('both.two-halves'))))];
    for (const id of runIds) {
      await becomes(id, 'waiting');
      await tenant.client.signal(id, 'go');
    }
    for (const id of runIds) {
      const { output, buildId } = await tenant.ended(id);
      expect(output).toEqual([buildId, buildId]);
    }
    expect((await tenant.client.runs.list({ function: 'both-two-halves' })).runs[0]).toHaveProperty(
      'buildId',
    );
    expect(await buildsOf('both')).toEqual([]);
  }, 60_000);

  test('rests while no worker of its build is there, and goes on when one comes', async () => {
    const { runId, old } = await pinnedRun('rests');
    await old.stop();
    expect(await buildsOf('rests')).toEqual([{ id: 'old', runs: 1, waitingForWorker: 0 }]);
    await tenant.client.signal(runId, 'go');
    await becomes(runId, 'waiting_for_worker');
    expect(await buildsOf('rests')).toEqual([{ id: 'old', runs: 1, waitingForWorker: 1 }]);
    await startBuild('rests', 'old', false);
    expect((await tenant.ended(runId)).output).toEqual(['old', 'old']);
  }, 60_000);

  test('that is unpinned goes on with any build', async () => {
    const { runId, old } = await pinnedRun('unpinned');
    await old.stop();
    await tenant.client.signal(runId, 'go');
    await becomes(runId, 'waiting_for_worker');
    expect(await tenant.client.runs.unpin(runId)).not.toHaveProperty('buildId');
    expect(await tenant.ended(runId)).toMatchObject({ output: ['old', 'new'] });
    await expect(tenant.client.runs.unpin(runId)).rejects.toMatchObject({ code: 'run_ended' });
  }, 60_000);

  test('that is unpinned while it waits is pinned to no other build afterwards', async () => {
    const { runId, old } = await pinnedRun('early');
    await tenant.client.runs.unpin(runId);
    await old.stop();
    await tenant.client.signal(runId, 'go');
    const ended = await tenant.ended(runId);
    expect(ended.output).toEqual(['old', 'new']);
    expect(ended).not.toHaveProperty('buildId');
  }, 60_000);

  test('is cancelled where it rests', async () => {
    const { runId, old } = await pinnedRun('cancelled');
    await old.stop();
    await tenant.client.signal(runId, 'go');
    await becomes(runId, 'waiting_for_worker');
    await tenant.client.runs.cancel(runId);
    expect(await becomes(runId, 'cancelled')).not.toHaveProperty('output');
  }, 60_000);

  test('whose worker is lost in the middle waits for its build, is refused to be unpinned before, and keeps its steps', async () => {
    const old = await startBuild('lost', 'old');
    const runId = await emit('lost.holding');
    await eventually(() => expect(held.has('lost')).toBe(true), patience);
    await eventually(
      async () => expect(await tenant.client.runs.get(runId)).toMatchObject({ buildId: 'old' }),
      patience,
    );
    await expect(tenant.client.runs.unpin(runId)).rejects.toMatchObject({ code: 'run_active' });
    await startBuild('lost', 'new');
    held.delete('lost');
    await old.stop({ timeoutMs: 0 });
    await becomes(runId, 'waiting_for_worker');
    expect(held.has('lost')).toBe(false);
    await startBuild('lost', 'old');
    await eventually(() => expect(held.has('lost')).toBe(true), patience);
    held.get('lost')!();
    expect((await tenant.ended(runId)).output).toEqual(['old', 'old']);
  }, 60_000);

  test('is none that a worker without pinning drove, also of one with a build', async () => {
    await startBuild('loose', 'old', false);
    const runId = await emit('loose.two-halves');
    expect(await becomes(runId, 'waiting')).not.toHaveProperty('buildId');
    await startBuild('loose', 'new');
    await tenant.client.signal(runId, 'go');
    expect(await tenant.ended(runId)).not.toHaveProperty('buildId');
  }, 60_000);
});
