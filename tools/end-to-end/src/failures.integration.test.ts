/** What follows when a run fails for good: its own failure function, and whoever listens to failures. */
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { createFunction } from '@ironflow/sdk';
import type { FailureContext, IronflowFunction } from '@ironflow/sdk';
import { eventually } from '@ironflow/testing';
import { startPlatformUnderTest } from './platform-under-test.js';
import type { PlatformUnderTest, Tenant } from './platform-under-test.js';

let world: PlatformUnderTest;
let tenant: Tenant;
/** Outside of the platform. */
const told: { by: string; failure: Pick<FailureContext, 'error' | 'failedRun' | 'event'>; run: string }[] =
  [];
const heard: string[] = [];

beforeAll(async () => {
  world = await startPlatformUnderTest();
  tenant = world.tenant;
  const stranger = await world.createTenant('globex', 'prod');
  await tenant.startWorker('pull-app', functions('pull'));
  await tenant.startPushApp('push-app', functions('push'));
  await stranger.startWorker('their-app', [listener('theirs', 'true')]);
}, 60_000);
afterAll(() => world?.stop(), 30_000);

const listener = (id: string, condition: string) =>
  createFunction(
    { id, triggers: [{ event: 'ironflow.function.failed', if: condition }] },
    ({ event }) => void heard.push(`${id} ${(event.data as { run: { id: string } }).run.id}`),
  );

function functions(mode: string): IronflowFunction[] {
  return [
    createFunction(
      {
        id: `${mode}-charge`,
        triggers: [{ event: `${mode}.charge` }],
        retries: 1,
        onFailure: async ({ error, failedRun, event, step, run }) => {
          await step.run('tell', () =>
            told.push({ by: mode, failure: { error, failedRun, event }, run: run.id }),
          );
        },
      },
      ({ step }) => step.run('charge', () => Promise.reject(new RangeError('no funds'))),
    ),
    createFunction(
      {
        id: `${mode}-hopeless`,
        triggers: [{ event: `${mode}.hopeless` }],
        retries: 1,
        onFailure: () => {
          throw new Error('it fails as well');
        },
      },
      () => {
        throw new TypeError('never');
      },
    ),
    listener(
      `${mode}-watch`,
      `event.data.run.functionId == "${mode}-charge" && event.data.error.name == "StepError"`,
    ),
  ];
}

const fail = async (name: string, data: unknown) => {
  const { runs } = await tenant.client.emit({ name, data }, { wait: '20s' });
  expect(runs).toMatchObject([{ status: 'failed' }]);
  return runs![0]!.id;
};

describe.each(['pull', 'push'])('a run that fails for good in %s mode', (mode) => {
  test('starts its failure function with what failed, and those that listen to it', async () => {
    const failed = await fail(`${mode}.charge`, { order: 7 });
    await eventually(() => expect(told.filter(({ by }) => by === mode)).toHaveLength(1));
    const { failure, run } = told.find(({ by }) => by === mode)!;
    expect(failure).toMatchObject({
      error: { name: 'StepError', message: expect.stringContaining('no funds') },
      failedRun: { id: failed, functionId: `${mode}-charge` },
      event: { name: `${mode}.charge`, data: { order: 7 } },
    });
    expect(await tenant.ended(run)).toMatchObject({
      functionId: `${mode}-charge-on-failure`,
      eventName: 'ironflow.function.failed',
      correlationId: (await tenant.client.runs.get(failed)).correlationId,
    });
    await eventually(() => expect(heard).toContain(`${mode}-watch ${failed}`));
    expect(heard.filter((line) => line.startsWith('theirs'))).toEqual([]);
  });

  test('is told of once, and a failure function that fails is told of to nobody', async () => {
    const failed = await fail(`${mode}.hopeless`, null);
    const { runs } = await eventually(async () => {
      const page = await tenant.client.runs.list({
        function: `${mode}-hopeless-on-failure`,
        status: 'failed',
      });
      expect(page.runs).toHaveLength(1);
      return page;
    });
    const { correlationId } = await tenant.client.runs.get(failed);
    const events = (await tenant.client.events.list({ correlation: correlationId })).events;
    expect(events.map(({ name, source }) => `${name} ${source}`).sort()).toEqual([
      'ironflow.function.failed system',
      `${mode}.hopeless http`,
    ]);
    const { deadLetters } = await tenant.client.deadLetters.list({ reason: 'run_failed' });
    expect(deadLetters.map(({ runId }) => runId)).toEqual(expect.arrayContaining([failed, runs[0]!.id]));
  });
});

test('nobody can emit a failure', async () => {
  await expect(tenant.client.emit({ name: 'ironflow.function.failed', data: {} })).rejects.toMatchObject({
    status: 400,
  });
});
