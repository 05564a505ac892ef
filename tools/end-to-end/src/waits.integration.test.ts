/** Waits for events, signals and other runs, through every part of the platform. */
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { createFunction } from '@ironflow/sdk';
import type { IronflowFunction } from '@ironflow/sdk';
import { eventually } from '@ironflow/testing';
import { startPlatformUnderTest } from './platform-under-test.js';
import type { PlatformUnderTest, Tenant } from './platform-under-test.js';

let world: PlatformUnderTest;
let tenant: Tenant;
let stranger: Tenant;
/** What holds runs up until the test lets them go, and how often functions were called, outside of the platform. */
const gates = new Map<string, () => void>();
const begun = new Map<string, number>();

beforeAll(async () => {
  world = await startPlatformUnderTest();
  tenant = world.tenant;
  stranger = await world.createTenant('globex', 'prod');
  await tenant.startWorker('pull-app', functions('pull'));
  await tenant.startPushApp('push-app', functions('push'));
}, 60_000);
afterAll(() => world?.stop(), 30_000);

type Order = { order: string; n?: number; by?: string };

function functions(mode: string): IronflowFunction[] {
  const config = (id: string) => ({
    id: `${mode}-${id}`,
    triggers: [{ event: `${mode}.${id}` }],
    retries: 1,
  });
  const count = (name: string) => begun.set(name, (begun.get(name) ?? 0) + 1);
  return [
    createFunction(config('event'), async ({ step }) => {
      const paid = await step.waitForEvent<Order>('payment', {
        event: `${mode}.paid`,
        match: 'data.order',
        if: 'event.data.n > 10 && trigger.data.by == "card"',
        timeout: '1h',
      });
      return paid && [paid.name, paid.data.n];
    }),
    createFunction(config('early'), async ({ step, run }) => {
      await step.run('busy', () => new Promise<void>((resolve) => gates.set(run.id, resolve)));
      const first = await step.waitForEvent<Order>('first', { event: `${mode}.note` });
      const second = await step.waitForEvent<Order>('second', { event: `${mode}.note` });
      return [first?.data.n, second?.data.n];
    }),
    createFunction(config('in-vain'), ({ step }) =>
      Promise.all([
        step.waitForEvent('event', { event: `${mode}.never`, timeout: 50 }),
        step.waitForSignal('signal', { timeout: 50 }),
        step
          .invoke('child', { function: `${mode}-endless`, timeout: 50 })
          .catch((error: Error) => error.message),
      ]),
    ),
    createFunction(config('endless'), ({ step }) => step.waitForSignal('never')),
    createFunction(config('signals'), async ({ step }) => {
      const answers = [];
      for (let n = 0; n < 3; n += 1) answers.push(await step.waitForSignal('answer'));
      return answers;
    }),
    createFunction(config('parent'), async ({ step, event }) => {
      const { order } = event.data as Order;
      const [child, failed] = await Promise.all([
        step.invoke('child', { function: `${mode}-child`, data: { order } }),
        step.invoke('failing', { function: `${mode}-failing` }).catch((error: Error) => error.message),
      ]);
      const { eventId } = await step.invokeAsync('aside', {
        function: `${mode}-child`,
        data: { order: 'aside' },
      });
      return { child, failed, isStarted: eventId.length > 0 };
    }),
    createFunction(config('child'), ({ event }) => {
      const { order } = event.data as Order;
      count(`${mode} ${order}`);
      return { shipped: order };
    }),
    createFunction(config('failing'), () => {
      throw new RangeError('nothing in stock');
    }),
    createFunction(config('unknown'), ({ step }) => step.invoke('nobody', { function: 'nobody' })),
    createFunction(config('mistaken'), ({ step }) =>
      step.waitForEvent('payment', { event: `${mode}.paid`, if: 'event.data.' }),
    ),
  ];
}

async function start(name: string, data: unknown = null): Promise<string> {
  const { ids } = await tenant.client.emit({ name, data });
  return eventually(async () => {
    const { runs } = await tenant.client.runs.list({ event: ids[0]! });
    return runs[0]!.id;
  });
}
const waiting = (runId: string) =>
  eventually(async () => expect(await tenant.client.runs.get(runId)).toMatchObject({ status: 'waiting' }));
const nothingLeft = async (runId: string) => {
  for (const table of ['waits', 'timers', 'signals']) {
    expect(await world.query(`select from ${table} where run_id = $1`, [runId])).toEqual([]);
  }
};

describe.each(['pull', 'push'])('a run in %s mode', (mode) => {
  test('waits for the event that it means and for no other', async () => {
    const run = await start(`${mode}.event`, { order: 'a', by: 'card' });
    await waiting(run);
    const paid = (data: Order, by = tenant) => by.client.emit({ name: `${mode}.paid`, data });
    await paid({ order: 'b', n: 11 });
    await paid({ order: 'a', n: 1 });
    await paid({ order: 'a' });
    await paid({ order: 'a', n: 12 }, stranger);
    await paid({ order: 'a', n: 13 });
    expect(await tenant.ended(run)).toMatchObject({ status: 'completed', output: [`${mode}.paid`, 13] });
    await nothingLeft(run);
    expect(await world.query('select from awaited_events', [])).toEqual([]);
  });

  test('does not miss events that came before it waited, and takes each once', async () => {
    const run = await start(`${mode}.early`);
    await eventually(() => expect(gates.has(run)).toBe(true));
    await tenant.client.emit({ name: `${mode}.note`, data: { n: 1 } });
    await tenant.client.emit({ name: `${mode}.note`, data: { n: 2 } });
    gates.get(run)!();
    expect(await tenant.ended(run)).toMatchObject({ status: 'completed', output: [1, 2] });
  });

  test('goes on with null, and with an error for an invoked run, when it has waited in vain', async () => {
    const run = await tenant.ended(await start(`${mode}.in-vain`));
    expect(run.output).toEqual([
      null,
      null,
      'step "child" failed after 1 attempt: InvokeTimeout: the invoked run did not end in time',
    ]);
    await nothingLeft(run.id);
  });

  test('takes signals in their order, those sent before it waits included', async () => {
    const run = await start(`${mode}.signals`);
    await tenant.client.signal(run, 'answer', { n: 1 });
    await tenant.client.signal(run, 'answer', 'for the second');
    await waiting(run);
    await expect(stranger.client.signal(run, 'answer')).rejects.toMatchObject({ code: 'run_not_found' });
    await tenant.client.signal(run, 'answer');
    expect(await tenant.ended(run)).toMatchObject({ output: [{ n: 1 }, 'for the second', null] });
    await nothingLeft(run);
    await expect(tenant.client.signal(run, 'answer')).rejects.toMatchObject({ code: 'run_ended' });
  });

  test('invokes other functions, goes on with what they came to, and is linked with them', async () => {
    const run = await tenant.ended(await start(`${mode}.parent`, { order: 'x' }));
    expect(run.output).toEqual({
      child: { shipped: 'x' },
      failed: 'step "failing" failed after 1 attempt: RangeError: nothing in stock',
      isStarted: true,
    });
    await eventually(() => expect(begun.get(`${mode} aside`)).toBe(1));
    expect(begun.get(`${mode} x`)).toBe(1);
    const { invokedRunId } = run.steps.find(({ id }) => id === 'child')!;
    expect(await tenant.client.runs.get(invokedRunId!)).toMatchObject({
      functionId: `${mode}-child`,
      invokedBy: run.id,
      correlationId: run.correlationId,
    });
    await nothingLeft(run.id);
  });

  test('fails a step that invokes nobody, or waits with what is no condition, saying so', async () => {
    expect(await tenant.ended(await start(`${mode}.unknown`))).toMatchObject({
      error: { message: expect.stringContaining('no active function of that id') },
    });
    await tenant.client.emit({ name: `${mode}.paid`, data: { order: 'z' } });
    const mistaken = await start(`${mode}.mistaken`);
    await waiting(mistaken);
    await tenant.client.emit({ name: `${mode}.paid`, data: { order: 'z' } });
    expect(await tenant.ended(mistaken)).toMatchObject({
      status: 'failed',
      error: { message: expect.stringContaining('if: must be valid CEL over "event" and "trigger"') },
    });
  });

  test('leaves no wait behind when it is cancelled', async () => {
    const run = await start(`${mode}.endless`);
    await waiting(run);
    await tenant.client.runs.cancel(run);
    expect(await tenant.ended(run)).toMatchObject({ status: 'cancelled' });
    await nothingLeft(run);
  });
});
