/** Functions whose code changes while their runs are under way. */
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { createFunction } from '@ironflow/sdk';
import type { IronflowFunction } from '@ironflow/sdk';
import { eventually } from '@ironflow/testing';
import { startPlatformUnderTest } from './platform-under-test.js';
import type { PlatformUnderTest, Tenant } from './platform-under-test.js';

let world: PlatformUnderTest;
let tenant: Tenant;

beforeAll(async () => {
  world = await startPlatformUnderTest();
  ({ tenant } = world);
}, 60_000);
afterAll(() => world?.stop(), 30_000);

/** The two halves of a deployment. */
function functions(mode: string, version: 'old' | 'new'): IronflowFunction[] {
  const config = (id: string) => ({
    id: `${mode}-${id}`,
    triggers: [{ event: `${mode}.${id}` }],
    retries: 1,
  });
  const isOld = version === 'old';
  return [
    createFunction(config('renamed'), async ({ step }) => {
      const paid = await step.run(isOld ? 'charge' : 'charge the card', () => version);
      await step.waitForSignal(isOld ? 'go' : 'go on');
      await step.waitForSignal('end');
      return paid;
    }),
    createFunction(config('retyped'), async ({ step }) => {
      if (isOld) await step.run('pause', () => 'was run');
      else await step.sleep('pause', 1);
      await step.waitForSignal('go');
    }),
    createFunction(config('patched'), async ({ step }) => {
      const by = !isOld && (await step.patched('by card')) ? 'card' : 'cash';
      await step.run(by, () => by);
      await step.waitForSignal('go');
      return by;
    }),
  ];
}

async function start(mode: string, version: 'old' | 'new') {
  if (mode === 'pull') {
    const worker = await tenant.startWorker('pull-app', functions(mode, version));
    return () => worker.stop();
  }
  const app = await tenant.startPushApp('push-app', functions(mode, version));
  return async () => app.stop();
}
async function emit(name: string): Promise<string> {
  const { ids } = await tenant.client.emit({ name, data: null });
  return eventually(async () => (await tenant.client.runs.list({ event: ids[0]! })).runs[0]!.id);
}
const waiting = (runId: string, stepId: string) =>
  eventually(async () => {
    const run = await tenant.client.runs.get(runId);
    expect(run.status).toBe('waiting');
    expect(run.steps).toContainEqual(expect.objectContaining({ id: stepId, status: 'waiting' }));
    return run;
  });

describe.each(['pull', 'push'])('code that changes under runs in %s mode', (mode) => {
  test('is reported on them where it does not fit their record, and where it does not know of them, on none', async () => {
    const stopOld = await start(mode, 'old');
    const [renamed, retyped, patched] = await Promise.all(
      ['renamed', 'retyped', 'patched'].map((id) => emit(`${mode}.${id}`)),
    );
    for (const runId of [renamed!, retyped!, patched!]) await waiting(runId, 'go');
    expect(await tenant.client.runs.get(renamed!)).not.toHaveProperty('mismatch');
    await stopOld();
    await start(mode, 'new');
    for (const runId of [renamed!, retyped!, patched!]) await tenant.client.signal(runId, 'go');

    const afterwards = await waiting(renamed!, 'go on');
    expect(afterwards.mismatch?.steps).toContainEqual({
      id: 'charge',
      kind: 'out_of_turn',
      type: 'run',
      status: 'completed',
    });
    await tenant.client.signal(renamed!, 'go on');
    await waiting(renamed!, 'end');
    await tenant.client.signal(renamed!, 'end');
    const ended = await tenant.ended(renamed!);
    expect(ended).toMatchObject({ status: 'completed', output: 'new', mismatch: { count: 2 } });
    expect(ended.mismatch!.steps.map(({ id, kind }) => `${kind} ${id}`).sort()).toEqual([
      'not_called charge',
      'not_called go',
    ]);

    expect(await tenant.ended(retyped!)).toMatchObject({
      status: 'failed',
      error: { name: 'NondeterminismError' },
      mismatch: {
        count: 1,
        steps: [{ id: 'pause', kind: 'type_changed', type: 'run', status: 'completed', calledAs: 'sleep' }],
      },
    });
    const fits = await tenant.ended(patched!);
    expect(fits).toMatchObject({ status: 'completed', output: 'cash' });
    expect(fits).not.toHaveProperty('mismatch');
  });
});
