/** The rows of what a run waits for, and of what it asks of the platform. */
import { expect } from '@jest/globals';
import type { RunDetail } from '@ironflow/sdk';
import { eventually } from '@ironflow/testing';
import { platformCalls } from './app-process.js';
import { describePrimitives, notApplicable } from './primitive.js';
import type { CaseWorld, Primitive } from './primitive.js';

const refused = (message: string) => ({
  status: 'failed',
  error: { name: 'ConfigurationError', message: expect.stringContaining(message) },
});

const waitsFor = async (world: CaseWorld, name: string, data?: object): Promise<string> => {
  const runId = await world.start(name, data);
  await world.waiting(runId);
  return runId;
};

const isCancelledWhileItWaits = (name: string, data?: object) => async (world: CaseWorld) => {
  await world.cancel(await waitsFor(world, name, data));
};

let orders = 0;
const newOrder = () => ({ order: `order ${(orders += 1)}` });

/** As the page of the link does. */
const decide = (url: string, form: Record<string, string>) =>
  fetch(url, { method: 'POST', body: new URLSearchParams(form) });

/** The runs that a run's step has started. */
async function childrenOf({ tenant, mode }: CaseWorld, run: RunDetail): Promise<RunDetail[]> {
  const { runs } = await tenant.client.runs.list({
    correlation: run.correlationId,
    function: `${mode}-child`,
  });
  return Promise.all(runs.map(({ id }) => tenant.ended(id)));
}

const onlyChildShipped = async (world: CaseWorld, run: RunDetail) =>
  eventually(async () => {
    expect(await childrenOf(world, run)).toMatchObject([{ status: 'completed', output: 'shipped' }]);
  });

/** A message behind it shows that there is no second one. */
const onlyOneMessage = async ({ tenant }: CaseWorld, { id }: RunDetail): Promise<void> => {
  const topic = `published.${id}`;
  await tenant.client.topics.publish(topic, 'the last');
  const published: unknown[] = [];
  for await (const { data } of tenant.client.topics.subscribe(topic, { after: '0' })) {
    published.push(data);
    if (data === 'the last') break;
  }
  expect(published).toEqual(['shipped', 'the last']);
};

/** Steps that ask something of the platform, between whose answer and their record a crash may come. */
function asking(of: {
  name: string;
  function: string;
  answer: string;
  wrong: object;
  rule: string;
  /** What it asked for is done, once. */
  once?: (world: CaseWorld, run: RunDetail) => Promise<void>;
}): Primitive {
  const { once = onlyChildShipped } = of;
  const held = async (world: CaseWorld, name: string) => {
    world.app.hold(of.answer);
    const runId = await world.start(name);
    await world.app.isHolding(platformCalls, of.answer);
    return runId;
  };
  return {
    name: of.name,
    cases: {
      happy: async (world) => {
        const run = await world.run(of.function);
        expect(run.status).toBe('completed');
        await once(world, run);
      },
      failure: async ({ run }) => {
        expect(await run(of.function, of.wrong)).toMatchObject({
          status: 'failed',
          error: { name: 'StepError', message: expect.stringContaining(of.rule) },
        });
      },
      timeout: async (world) => {
        const runId = await held(world, `${of.function}-bounded`);
        await world.has(runId, { id: 'ask', status: 'errored' });
        world.app.letGo(of.answer);
        const run = await world.ended(runId);
        expect(run.steps).toContainEqual(
          expect.objectContaining({ id: 'ask', error: expect.objectContaining({ name: 'StepTimeout' }) }),
        );
        expect(run.status).toBe('completed');
        await once(world, run);
      },
      crash: async (world) => {
        const runId = await held(world, of.function);
        const run = await world.crash(runId);
        expect(run.status).toBe('completed');
        await once(world, run);
      },
      cancel: async (world) => {
        const runId = await held(world, of.function);
        const run = await world.cancel(runId);
        // What was asked of the platform before is done: it belongs to nobody any more.
        await once(world, run);
      },
    },
  };
}

describePrimitives('waits', [
  {
    name: 'step.sleep',
    cases: {
      happy: async ({ run }) => {
        const slept = await run('sleep', { for: 50 });
        expect(slept.status).toBe('completed');
        expectNoneTooEarly(slept, 50);
      },
      failure: async ({ run }) => {
        expect(await run('sleep', { for: 'soon' })).toMatchObject(refused('a duration is'));
      },
      timeout: notApplicable('its end is its time'),
      crash: async (world) => {
        const run = await world.crash(await waitsFor(world, 'sleep', { for: 2_000 }));
        expect(run.status).toBe('completed');
        expectNoneTooEarly(run, 2_000);
      },
      cancel: isCancelledWhileItWaits('sleep', { for: '1h' }),
    },
  },
  {
    name: 'step.sleepUntil',
    cases: {
      happy: async ({ run }) => {
        const until = Date.now() + 300;
        const slept = await run('sleepUntil', { until });
        expect(slept.status).toBe('completed');
        expect(Date.parse(slept.endedAt!)).toBeGreaterThanOrEqual(until);
      },
      failure: async ({ run }) => {
        expect(await run('sleepUntil', { until: 'some day' })).toMatchObject(refused('valid Date'));
      },
      timeout: notApplicable('its end is its time'),
      crash: async (world) => {
        const until = Date.now() + 2_500;
        const run = await world.crash(await waitsFor(world, 'sleepUntil', { until }));
        expect(run.status).toBe('completed');
        expect(Date.parse(run.endedAt!)).toBeGreaterThanOrEqual(until);
      },
      cancel: isCancelledWhileItWaits('sleepUntil', { until: Date.now() + 3_600_000 }),
    },
  },
  {
    name: 'step.waitForEvent',
    cases: {
      happy: async (world) => {
        const data = newOrder();
        const runId = await waitsFor(world, 'waitForEvent', data);
        await world.tenant.client.emit({ name: `${world.mode}.paid`, data });
        expect(await world.ended(runId)).toMatchObject({ status: 'completed', output: { data } });
      },
      failure: async (world) => {
        const data = newOrder();
        const runId = await waitsFor(world, 'waitForEvent', { ...data, if: 'event.data.' });
        await world.tenant.client.emit({ name: `${world.mode}.paid`, data });
        expect(await world.ended(runId)).toMatchObject({
          status: 'failed',
          error: { name: 'StepError', message: expect.stringContaining('if: must be valid CEL') },
        });
      },
      timeout: async ({ run }) => {
        const waited = await run('waitForEvent', { ...newOrder(), timeout: 50 });
        expect(waited).toMatchObject({ status: 'completed', output: null });
      },
      crash: async (world) => {
        const data = newOrder();
        const runId = await waitsFor(world, 'waitForEvent', data);
        const paid = () => world.tenant.client.emit({ name: `${world.mode}.paid`, data });
        expect(await world.crash(runId, paid)).toMatchObject({ status: 'completed', output: { data } });
      },
      cancel: isCancelledWhileItWaits('waitForEvent', newOrder()),
    },
  },
  {
    name: 'step.waitForSignal',
    cases: {
      happy: async (world) => {
        const runId = await waitsFor(world, 'waitForSignal');
        await world.tenant.client.signal(runId, 'answer', { n: 1 });
        expect(await world.ended(runId)).toMatchObject({ status: 'completed', output: { n: 1 } });
      },
      failure: async ({ run }) => {
        expect(await run('waitForSignal', { signal: '' })).toMatchObject(refused('signal: must be a text'));
      },
      timeout: async ({ run }) => {
        const waited = await run('waitForSignal', { timeout: 50 });
        expect(waited).toMatchObject({ status: 'completed', output: null });
      },
      crash: async (world) => {
        const runId = await waitsFor(world, 'waitForSignal');
        const signalled = () => world.tenant.client.signal(runId, 'answer', { n: 2 });
        expect(await world.crash(runId, signalled)).toMatchObject({ status: 'completed', output: { n: 2 } });
      },
      cancel: isCancelledWhileItWaits('waitForSignal'),
    },
  },
  {
    name: 'step.approve',
    cases: {
      happy: async (world) => {
        const runId = await waitsFor(world, 'approve');
        const [url] = world.app.said(runId);
        expect((await decide(url!, { decision: 'approve', comment: 'go on' })).status).toBe(200);
        expect(await world.ended(runId)).toMatchObject({
          status: 'completed',
          output: { approved: true, comment: 'go on', decidedAt: expect.any(String) },
        });
        expect((await decide(url!, { decision: 'reject' })).status).toBe(410);
      },
      failure: async (world) => {
        const run = await world.run('approve', { fails: true });
        expect(run).toMatchObject({
          status: 'failed',
          error: { name: 'StepError', message: expect.stringContaining('/v1/approvals/ifa_…') },
        });
        await world.nothingLeft(run.id);
      },
      timeout: async (world) => {
        const run = await world.run('approve', { timeout: 50 });
        expect(run).toMatchObject({ status: 'completed', output: null });
        expect((await decide(world.app.said(run.id)[0]!, { decision: 'approve' })).status).toBe(410);
      },
      // Asked, and not recorded yet: whoever was asked first may decide, though another is asked after the crash.
      crash: async (world) => {
        world.app.hold('request');
        const runId = await world.start('approve');
        await world.app.isHolding(runId, 'request');
        const [first] = world.app.said(runId);
        const decided = () => decide(first!, { decision: 'reject' });
        expect(await world.crash(runId, decided)).toMatchObject({
          status: 'completed',
          output: { approved: false },
        });
        const urls = world.app.said(runId);
        expect(new Set(urls).size).toBe(2);
        expect((await decide(urls[1]!, { decision: 'approve' })).status).toBe(410);
      },
      cancel: async (world) => {
        const runId = await waitsFor(world, 'approve');
        await world.cancel(runId);
        expect((await decide(world.app.said(runId)[0]!, { decision: 'approve' })).status).toBe(410);
      },
    },
  },
  {
    name: 'step.invoke',
    cases: {
      happy: async (world) => {
        const run = await world.run('invoke');
        expect(run).toMatchObject({ status: 'completed', output: 'shipped' });
        await onlyChildShipped(world, run);
      },
      failure: async ({ run }) => {
        expect(await run('invoke', { fails: true })).toMatchObject({
          status: 'failed',
          error: {
            name: 'StepError',
            message: expect.stringContaining('NonRetryableError: nothing in stock'),
          },
        });
      },
      timeout: async (world) => {
        const name = `late in ${world.mode} mode`;
        world.app.hold('child');
        const run = await world.run('invoke', { name, timeout: 300 });
        expect(run).toMatchObject({
          status: 'failed',
          error: { name: 'StepError', message: expect.stringContaining('InvokeTimeout') },
        });
        await world.nothingLeft(run.id);
        world.app.letGo('child');
        await onlyChildShipped(world, run);
      },
      crash: async (world) => {
        world.app.hold('answer to invoke');
        const runId = await world.start('invoke');
        await world.app.isHolding(platformCalls, 'answer to invoke');
        const run = await world.crash(runId);
        expect(run).toMatchObject({ status: 'completed', output: 'shipped' });
        await onlyChildShipped(world, run);
      },
      cancel: async (world) => {
        const name = `left alone in ${world.mode} mode`;
        world.app.hold('child');
        const runId = await world.start('invoke', { name });
        await world.app.isHolding(name, 'child');
        await world.waiting(runId);
        const run = await world.cancel(runId);
        world.app.letGo('child');
        await onlyChildShipped(world, run);
      },
    },
  },
  asking({
    name: 'step.invokeAsync',
    function: 'invokeAsync',
    answer: 'answer to invoke',
    wrong: { function: 'nobody' },
    rule: 'no active function of that id',
  }),
  asking({
    name: 'step.sendEvent',
    function: 'sendEvent',
    answer: 'answer to emit',
    wrong: { event: 'ironflow.mine' },
    rule: 'ironflow.',
  }),
  asking({
    name: 'step.publish',
    function: 'publish',
    answer: 'answer to publish',
    wrong: { topic: 'ironflow.mine' },
    rule: 'ironflow.',
    once: onlyOneMessage,
  }),
]);

function expectNoneTooEarly(run: RunDetail, ms: number): void {
  const nap = run.steps.find(({ id }) => id === 'nap')!;
  const after = run.steps.find(({ id }) => id === 'after')!;
  expect(Date.parse(after.startedAt) - Date.parse(nap.startedAt)).toBeGreaterThanOrEqual(ms - 10);
}
