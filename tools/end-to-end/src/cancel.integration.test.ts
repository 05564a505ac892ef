import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { createFunction } from '@ironflow/sdk';
import type { IronflowFunction } from '@ironflow/sdk';
import { eventually } from '@ironflow/testing';
import { startPlatformUnderTest } from './platform-under-test.js';
import type { PlatformUnderTest, Tenant } from './platform-under-test.js';

let world: PlatformUnderTest;
let tenant: Tenant;
/** When each run's function began and was told to stop, outside of the platform. */
const begun = new Set<string>();
const abortedAtMs = new Map<string, number>();
const afterwards: string[] = [];

beforeAll(async () => {
  world = await startPlatformUnderTest();
  tenant = world.tenant;
  await tenant.startWorker('pull-app', functions('pull'));
  await tenant.startPushApp('push-app', functions('push'));
}, 60_000);
afterAll(() => world?.stop(), 30_000);

function functions(mode: string): IronflowFunction[] {
  const config = (id: string) => ({ id: `${mode}-${id}`, triggers: [{ event: `${mode}.${id}` }] });
  return [
    createFunction(config('busy'), async ({ run, step, signal }) => {
      await step.run('first', () => 1);
      await step.run('endless', () => {
        begun.add(run.id);
        return new Promise((_resolve, reject) =>
          signal.addEventListener('abort', () => {
            abortedAtMs.set(run.id, Date.now());
            reject(signal.reason as Error);
          }),
        );
      });
      await step.run('never', () => afterwards.push(run.id));
    }),
    createFunction(
      {
        ...config('order'),
        cancelOn: [
          { event: `${mode}.cancelled`, match: 'data.order' },
          { event: `${mode}.withdrawn`, if: 'event.data.all || event.data.by == trigger.data.by' },
        ],
      },
      ({ step }) => step.sleep('night', '1h'),
    ),
    createFunction(config('asleep'), async ({ run, step }) => {
      await step.sleep('night', '1h');
      await step.run('never', () => afterwards.push(run.id));
    }),
  ];
}

async function started(id: string): Promise<string> {
  const answer = await tenant.client.emit({ name: id.replace('-', '.'), data: null }, { wait: '300ms' });
  return answer.runs![0]!.id;
}

describe.each(['pull', 'push'])('a cancelled run in %s mode', (mode) => {
  test('has its function aborted within a second, keeps what it recorded, and begins nothing more', async () => {
    const runId = await started(`${mode}-busy`);
    await eventually(() => expect(begun.has(runId)).toBe(true));
    const askedAtMs = Date.now();
    expect(await tenant.client.runs.cancel(runId)).toMatchObject({ id: runId, status: 'running' });
    const run = await tenant.ended(runId);
    expect(run.status).toBe('cancelled');
    expect(run.steps).toMatchObject([{ id: 'first', status: 'completed' }]);
    await eventually(() => expect(abortedAtMs.has(runId)).toBe(true));
    expect(abortedAtMs.get(runId)! - askedAtMs).toBeLessThan(1_000);
    expect(afterwards).not.toContain(runId);
  });

  test('ends at once though it sleeps, and its timer is gone', async () => {
    const runId = await started(`${mode}-asleep`);
    await eventually(async () => expect((await tenant.client.runs.get(runId)).status).toBe('waiting'));
    await tenant.client.runs.cancel(runId);
    const run = await tenant.ended(runId);
    expect(run).toMatchObject({ status: 'cancelled', stopRequestedAt: expect.any(String) });
    expect(await world.query('select 1 from timers where run_id = $1', [runId])).toEqual([]);
  });
});

describe.each(['pull', 'push'])('runs that events cancel in %s mode', (mode) => {
  const order = async (data: unknown) => {
    const { ids } = await tenant.client.emit({ name: `${mode}.order`, data });
    return eventually(async () => {
      const [run] = (await tenant.client.runs.list({ event: ids[0]!, status: 'waiting' })).runs;
      return run!.id;
    });
  };
  const statusOf = async (runId: string) => (await tenant.client.runs.get(runId)).status;

  test('are those that match, and no others', async () => {
    const stranger = await world.createTenant(`globex-${mode}`, 'prod');
    const [meant, other] = [await order({ order: 7 }), await order({ order: '7' })];
    await stranger.client.emit({ name: `${mode}.cancelled`, data: { order: '7' } });
    await tenant.client.emit({ name: `${mode}.cancelled`, data: {} });
    await tenant.client.emit({ name: `${mode}.cancelled`, data: { order: 7 } });
    expect((await tenant.ended(meant)).status).toBe('cancelled');
    expect(await statusOf(other)).toBe('waiting');
    const late = await order({ order: 7 });
    await tenant.client.emit({ name: `${mode}.cancelled`, data: { order: '7' } });
    expect((await tenant.ended(other)).status).toBe('cancelled');
    expect(await statusOf(late)).toBe('waiting');
  });

  test('are those for which the condition holds', async () => {
    const [hers, his] = [await order({ by: 'her' }), await order({ by: 'him' })];
    await tenant.client.emit({ name: `${mode}.withdrawn`, data: { by: 'her' } });
    await tenant.client.emit({ name: `${mode}.withdrawn`, data: { all: false, by: 'her' } });
    expect((await tenant.ended(hers)).status).toBe('cancelled');
    expect(await statusOf(his)).toBe('waiting');
    await tenant.client.emit({ name: `${mode}.withdrawn`, data: { all: true } });
    expect((await tenant.ended(his)).status).toBe('cancelled');
    // One that overtook an event from before it is asked again by the sweep.
    await eventually(async () => expect(await world.query('select from awaited_events', [])).toEqual([]), {
      timeoutMs: 20_000,
    });
  }, 60_000);
});

test('whoever waits for a run is told that it was cancelled, and once ended nothing can stop a run', async () => {
  const emitted = tenant.client.emit({ name: 'pull.asleep', data: null }, { wait: '20s' });
  const runId = await eventually(async () => {
    const [run] = (await tenant.client.runs.list({ function: 'pull-asleep', status: 'waiting' })).runs;
    return run!.id;
  });
  await tenant.client.runs.cancel(runId);
  expect((await emitted).runs).toMatchObject([{ id: runId, status: 'cancelled' }]);
  expect(await tenant.client.runs.cancel(runId)).toMatchObject({ status: 'cancelled' });
});

test('a run that no worker is there for is cancelled all the same', async () => {
  const worker = await tenant.startWorker('gone-app', [
    createFunction({ id: 'gone', triggers: [{ event: 'gone.away' }] }, async ({ step }) => {
      await step.sleep('night', '1h');
    }),
  ]);
  await worker.stop();
  const { ids } = await tenant.client.emit({ name: 'gone.away', data: null });
  const [run] = await eventually(
    async () => {
      const { runs } = await tenant.client.runs.list({ event: ids[0]! });
      expect(runs).toMatchObject([{ status: 'waiting_for_worker' }]);
      return runs;
    },
    { timeoutMs: 25_000 },
  );
  await tenant.client.runs.cancel(run!.id);
  expect((await tenant.ended(run!.id)).status).toBe('cancelled');
}, 45_000);

test('another environment can neither cancel a run nor learn that it is there', async () => {
  const stranger = await world.createTenant('globex', 'prod');
  const runId = await started('pull-asleep');
  await expect(stranger.client.runs.cancel(runId)).rejects.toMatchObject({ code: 'run_not_found' });
  expect((await tenant.client.runs.get(runId)).stopRequestedAt).toBeUndefined();
});
