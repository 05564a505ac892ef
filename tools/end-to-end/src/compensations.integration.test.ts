import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { createFunction, NonRetryableError } from '@ironflow/sdk';
import type { IronflowFunction, RunDetail } from '@ironflow/sdk';
import { eventually } from '@ironflow/testing';
import { startPlatformUnderTest } from './platform-under-test.js';
import type { PlatformUnderTest, Tenant } from './platform-under-test.js';

let world: PlatformUnderTest;
let tenant: Tenant;
/** What functions did and undid, by run. */
const done = new Map<string, string[]>();
const begun = new Set<string>();
const note = (runId: string, what: string): void => {
  done.set(runId, [...(done.get(runId) ?? []), what]);
};

beforeAll(async () => {
  world = await startPlatformUnderTest({ IRONFLOW_PUSH_DEADLINE_MS: '2000' });
  tenant = world.tenant;
  await tenant.startWorker('pull-app', functions('pull'));
  await tenant.startPushApp('push-app', functions('push'));
}, 60_000);
afterAll(() => world?.stop(), 30_000);

const untilAborted = (signal: AbortSignal): Promise<never> =>
  new Promise((_resolve, reject) => signal.addEventListener('abort', () => reject(signal.reason as Error)));

const quick = { attempts: 2, initialDelayMs: 10 };

function functions(mode: string): IronflowFunction[] {
  const config = (id: string) => ({
    id: `${mode}-${id}`,
    triggers: [{ event: `${mode}.${id}` }],
    retries: quick,
  });
  /** Two things that are done, and can be undone, before the rest. */
  const trip = (id: string, rest: Parameters<typeof createFunction>[1], more: object = {}) =>
    createFunction({ ...config(id), ...more }, async (context) => {
      const { run, step } = context;
      for (const name of ['hotel', 'flight']) {
        await step.run(name, () => note(run.id, name));
        await step.compensate(name, () => note(run.id, `undo ${name}`));
      }
      return rest(context);
    });
  return [
    trip('refused', () => {
      throw new NonRetryableError('no');
    }),
    trip('thrown', () => {
      throw new Error('again and again');
    }),
    trip('exhausted', ({ step }) =>
      step.run('pay', () => {
        throw new Error('declined');
      }),
    ),
    trip('asleep', ({ step }) => step.sleep('night', '1h')),
    trip('waiting', ({ step }) => step.waitForEvent('answer', { event: 'never.comes' })),
    trip('busy', ({ run, step }) =>
      step.run('endless', async ({ signal }) => {
        begun.add(run.id);
        await untilAborted(signal).finally(() => note(run.id, 'aborted'));
      }),
    ),
    trip('slow', ({ step }) => step.run('endless', ({ signal }) => untilAborted(signal)), {
      timeout: '1s',
    }),
    trip('stubborn', async ({ run, step }) => {
      await step.compensate(
        'gift',
        ({ attempt }) => {
          note(run.id, `undo gift ${attempt}`);
          throw new Error('it was opened');
        },
        { retries: 2 },
      );
      throw new NonRetryableError('no');
    }),
    trip('fine', () => 'arrived'),
  ];
}

const both = ['undo flight', 'undo hotel'];
const afterTrip = (run: RunDetail) => done.get(run.id)?.slice(2);
const undone = (run: RunDetail) =>
  run.steps
    .filter(({ type, attempt }) => type === 'compensate' && attempt > 0)
    .map(({ id, status }) => `${id} ${status}`);

async function started(name: string): Promise<string> {
  const { ids } = await tenant.client.emit({ name, data: { secret: 1 } });
  return eventually(async () => (await tenant.client.runs.list({ event: ids[0]! })).runs[0]!.id);
}

describe.each(['pull', 'push'])('a run in %s mode', (mode) => {
  test.each(['refused', 'thrown', 'exhausted'])('that has %s undoes what it had done', async (how) => {
    const run = await tenant.ended(await started(`${mode}.${how}`));
    expect(run.status).toBe('failed');
    expect(run.error).toBeDefined();
    expect(run.notCompensated).toBeUndefined();
    expect(afterTrip(run)).toEqual(both);
    expect(undone(run)).toEqual(['compensate(flight) completed', 'compensate(hotel) completed']);
  });

  test.each(['asleep', 'waiting'])(
    'that is %s and is cancelled undoes it too, and waits no more',
    async (how) => {
      const runId = await started(`${mode}.${how}`);
      await eventually(async () => expect((await tenant.client.runs.get(runId)).status).toBe('waiting'));
      await tenant.client.runs.cancel(runId);
      const run = await tenant.ended(runId);
      expect(run.status).toBe('cancelled');
      expect(afterTrip(run)).toEqual(both);
      for (const table of ['timers', 'waits'])
        expect(await world.query(`select 1 from ${table} where run_id = $1`, [runId])).toEqual([]);
    },
  );

  test('that is busy and is cancelled undoes it once what was aborted has ended', async () => {
    const runId = await started(`${mode}.busy`);
    await eventually(() => expect(begun.has(runId)).toBe(true));
    await tenant.client.runs.cancel(runId);
    const run = await tenant.ended(runId);
    expect(run.status).toBe('cancelled');
    expect(afterTrip(run)).toEqual(['aborted', ...both]);
  });

  test('that takes longer than its function may has failed, and undoes it', async () => {
    const run = await tenant.ended(await started(`${mode}.slow`));
    expect(run).toMatchObject({ status: 'failed', error: { name: 'FunctionTimeout' } });
    expect(afterTrip(run)).toEqual(both);
  });

  test('lists what could not be undone, and tells of it', async () => {
    const run = await tenant.ended(await started(`${mode}.stubborn`));
    const listed = [{ step: 'compensate(gift)', error: { name: 'Error', message: 'it was opened' } }];
    expect(run).toMatchObject({ status: 'failed', notCompensated: listed });
    expect(afterTrip(run)).toEqual(['undo gift 1', 'undo gift 2', ...both]);
    const told = await world.query<{ data: { notCompensated: unknown } }>(
      `select data from events where name = 'ironflow.function.failed' and data->'run'->>'id' = $1`,
      [run.id],
    );
    expect(told.map(({ data }) => data.notCompensated)).toEqual([listed]);
  });

  test('that completes undoes nothing', async () => {
    const run = await tenant.ended(await started(`${mode}.fine`));
    expect(run).toMatchObject({ status: 'completed', output: 'arrived' });
    expect(done.get(run.id)).toEqual(['hotel', 'flight']);
  });
});
