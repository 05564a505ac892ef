import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { createFunction, NonRetryableError, StepError } from '@ironflow/sdk';
import type { IronflowFunction } from '@ironflow/sdk';
import { startPlatformUnderTest } from './platform-under-test.js';
import type { PlatformUnderTest, Tenant } from './platform-under-test.js';

const quick = { attempts: 3, initialDelayMs: 10 };
let world: PlatformUnderTest;
let tenant: Tenant;
/** How often each thing was really done, outside of the platform. */
const done = new Map<string, number>();

beforeAll(async () => {
  world = await startPlatformUnderTest();
  tenant = world.tenant;
  await tenant.startWorker('pull-app', functions('pull'));
  await tenant.startPushApp('push-app', functions('push'));
}, 60_000);
afterAll(() => world?.stop(), 30_000);

describe.each(['pull', 'push'])('in %s mode', (mode) => {
  test('steps under Promise.all run once each, and their outputs come back in place', async () => {
    const run = await invoke(`${mode}-parallel`);
    expect(run.output).toEqual(['a', 'b', { c: [1, null] }]);
    expect(doneCount(`${mode}-parallel`)).toEqual({ a: 1, b: 1, c: 1 });
    expect(stepsOf(run)).toEqual(['a#1 completed', 'b#1 completed', 'c#1 completed']);
  });

  test('a sleep beside steps delays nothing but what comes after both', async () => {
    const run = await invoke(`${mode}-sleep-beside`);
    expect(run.output).toEqual({ quick: 'quick', chained: 'chained', slept: true });
    expect(doneCount(`${mode}-sleep-beside`)).toEqual({ quick: 1, chained: 1, after: 1 });
    const sleep = run.steps.find(({ type }) => type === 'sleep')!;
    const chained = run.steps.find(({ name }) => name === 'chained')!;
    const after = run.steps.find(({ name }) => name === 'after')!;
    expect(Date.parse(chained.endedAt!)).toBeLessThan(Date.parse(sleep.dueAt ?? sleep.endedAt!));
    expect(Date.parse(after.startedAt) - Date.parse(sleep.startedAt)).toBeGreaterThanOrEqual(490);
  });

  test('a step that used up its attempts throws a StepError, which the function may catch', async () => {
    const run = await invoke(`${mode}-caught`);
    expect(run.status).toBe('completed');
    expect(run.output).toEqual({
      name: 'StepError',
      stepId: 'hopeless',
      attempts: 3,
      message: 'step "hopeless" failed after 3 attempts: TypeError: no use',
    });
    expect(doneCount(`${mode}-caught`)).toEqual({ hopeless: 3, 'make up for it': 1 });
    expect(stepsOf(run)).toEqual([
      'hopeless#1 errored',
      'hopeless#2 errored',
      'hopeless#3 failed',
      'make up for it#1 completed',
    ]);
  });

  test('a StepError that nobody catches fails the run at once', async () => {
    const run = await invoke(`${mode}-uncaught`);
    expect(run).toMatchObject({ status: 'failed', error: { name: 'StepError' } });
    expect(doneCount(`${mode}-uncaught`)).toEqual({ hopeless: 3 });
  });

  test('an attempt that takes longer than its step may is given up and repeated', async () => {
    const run = await invoke(`${mode}-stuck`);
    expect(run).toMatchObject({ status: 'completed', output: 'in time' });
    expect(run.steps).toMatchObject([
      { status: 'errored', error: { name: 'StepTimeout', message: 'it took longer than 50 ms' } },
      { status: 'completed', attempt: 2 },
    ]);
  });

  test('events that a step sends start their runs once, whatever is repeated, and belong to what led to them', async () => {
    const run = await invoke(`${mode}-sender`);
    expect(run.status).toBe('completed');
    const { ids } = run.output as { ids: string[] };
    expect(ids).toHaveLength(2);
    const { events } = await tenant.client.events.list({ correlation: run.correlationId, limit: 50 });
    const sent = events.filter(({ name }) => name === `${mode}.sent`);
    expect(sent.map(({ id }) => id).sort()).toEqual([...ids].sort());
    for (const event of sent) expect(event.causationId).toBe(run.eventId);
    expect(doneCount(`${mode}-sender`)).toEqual({ once: 1 });
    const [child] = await tenant.endedRunsOf(ids[0]!);
    expect(child).toMatchObject({ functionId: `${mode}-sent`, correlationId: run.correlationId, output: 1 });
  });

  test('an event that the platform refuses fails its step at once', async () => {
    const run = await invoke(`${mode}-refused`);
    expect(run).toMatchObject({ status: 'failed', error: { name: 'StepError' } });
    expect(stepsOf(run)).toEqual(['send#1 failed']);
  });

  test('a NonRetryableError ends a step after one attempt', async () => {
    const run = await invoke(`${mode}-non-retryable`);
    expect(run).toMatchObject({ status: 'failed', error: { name: 'StepError' } });
    expect(run.error!.message).toContain('NonRetryableError: never');
    expect(stepsOf(run)).toEqual(['refused#1 failed']);
  });

  test.each([
    ['bigint', 'it contains a BigInt'],
    ['circle', 'it refers to itself'],
    ['function', 'there is a function at'],
    ['large', 'above the limit of 4194304 bytes'],
  ])('an output that cannot be stored (%s) is an error that says so, without a retry', async (kind, rule) => {
    const run = await invoke(`${mode}-unstorable`, { kind });
    expect(run.status).toBe('failed');
    expect(run.steps).toHaveLength(1);
    expect(run.steps[0]).toMatchObject({ status: 'failed', attempt: 1, error: { name: 'OutputError' } });
    expect(run.steps[0]!.error!.message).toContain(rule);
  });

  test('a function that throws outside of a step is called again, and goes on from its recorded steps', async () => {
    const run = await invoke(`${mode}-throws-outside`);
    expect(run).toMatchObject({ status: 'completed', output: 'there in the end' });
    expect(doneCount(`${mode}-throws-outside`)).toEqual({ once: 1, calls: 3 });
  });

  test('a function that always throws outside of a step fails after its attempts', async () => {
    const run = await invoke(`${mode}-always-throws`);
    expect(run).toMatchObject({ status: 'failed', error: { name: 'RangeError', message: 'every time' } });
    expect(doneCount(`${mode}-always-throws`)).toEqual({ calls: 3 });
  });

  test('a long run records every step once and in order', async () => {
    const count = mode === 'pull' ? 200 : 30;
    const run = await invoke(`${mode}-long`, { count });
    expect(run.output).toBe((count * (count - 1)) / 2);
    expect(doneCount(`${mode}-long`)).toEqual({ tick: count });
    expect(run.steps.map(({ id }) => id)).toEqual(
      Array.from({ length: count }, (_, n) => (n === 0 ? 'tick' : `tick:${n}`)),
    );
  });
});

function functions(mode: string): IronflowFunction[] {
  const define = <T>(
    name: string,
    handler: Parameters<typeof createFunction<T, { kind?: string; count?: number } | null>>[1],
  ) => createFunction({ id: `${mode}-${name}`, triggers: [], retries: quick }, handler);
  const note = (name: string, what: string): void => {
    const key = `${mode}-${name}/${what}`;
    done.set(key, (done.get(key) ?? 0) + 1);
  };
  const hopeless = (name: string) => () => {
    note(name, 'hopeless');
    throw new TypeError('no use');
  };
  return [
    define('parallel', ({ step }) =>
      Promise.all([
        step.run('a', () => (note('parallel', 'a'), 'a')),
        step.run('b', async () => (note('parallel', 'b'), 'b')),
        step.run('c', () => (note('parallel', 'c'), { c: [1, undefined], dropped: undefined })),
      ]),
    ),
    define('sleep-beside', async ({ step }) => {
      const chain = async () => {
        const quickly = await step.run('quick', () => (note('sleep-beside', 'quick'), 'quick'));
        return [quickly, await step.run('chained', () => (note('sleep-beside', 'chained'), 'chained'))];
      };
      const [[quickly, chained]] = await Promise.all([chain(), step.sleep('nap', '500ms')]);
      const slept = await step.run('after', () => (note('sleep-beside', 'after'), true));
      return { quick: quickly, chained, slept };
    }),
    define('sender', async ({ step, run }) => {
      const events = [1, 2].map((n) => ({ name: `${mode}.sent`, data: { n } }));
      const sent = await step.sendEvent('send', events);
      await step.run('once', () => note('sender', 'once'));
      if (run.attempt === 1) throw new Error('once more');
      return sent;
    }),
    createFunction(
      { id: `${mode}-sent`, triggers: [{ event: `${mode}.sent` }] },
      ({ event }) => (event.data as { n: number }).n,
    ),
    define('refused', ({ step }) => step.sendEvent('send', { name: 'ironflow.mine', data: null })),
    define('stuck', ({ step }) =>
      step.run('wait', ({ attempt }) => (attempt === 2 ? 'in time' : new Promise(() => {})), {
        timeout: '50ms',
      }),
    ),
    define('caught', async ({ step }) => {
      try {
        return await step.run('hopeless', hopeless('caught'));
      } catch (error) {
        if (!(error instanceof StepError)) throw error;
        await step.run('make up for it', () => note('caught', 'make up for it'));
        const { name, stepId, attempts, message } = error;
        return { name, stepId, attempts, message };
      }
    }),
    define('uncaught', ({ step }) => step.run('hopeless', hopeless('uncaught'))),
    define('non-retryable', ({ step }) =>
      step.run('refused', () => {
        throw new NonRetryableError('never');
      }),
    ),
    define('unstorable', ({ event, step }) => step.run('make', () => unstorable(event.data?.kind))),
    define('throws-outside', async ({ step, run }) => {
      await step.run('once', () => note('throws-outside', 'once'));
      note('throws-outside', 'calls');
      // The call that recorded the step was progress: attempts are counted from there.
      if (run.attempt < 3) throw new RangeError('not yet');
      return 'there in the end';
    }),
    define('always-throws', () => {
      note('always-throws', 'calls');
      throw new RangeError('every time');
    }),
    define('long', async ({ event, step }) => {
      let sum = 0;
      for (let n = 0; n < event.data!.count!; n += 1) {
        sum += await step.run('tick', () => (note('long', 'tick'), n));
      }
      return sum;
    }),
  ];
}

function unstorable(kind: string | undefined): unknown {
  if (kind === 'bigint') return { amount: 1n };
  if (kind === 'function') return { deep: { call: () => undefined } };
  if (kind === 'large') return 'x'.repeat(4 * 1024 * 1024);
  const circle: { self?: unknown } = {};
  circle.self = circle;
  return circle;
}

async function invoke(functionId: string, data: unknown = null) {
  const { ids, runs } = await tenant.client.invoke(functionId, data, { wait: '20s' });
  expect(runs).toHaveLength(1);
  const [run] = await tenant.endedRunsOf(ids[0]!);
  return run!;
}

function stepsOf(run: Awaited<ReturnType<typeof invoke>>): string[] {
  return run.steps.map(({ id, attempt, status }) => `${id}#${attempt} ${status}`).sort();
}

function doneCount(functionId: string): Record<string, number> {
  const prefix = `${functionId}/`;
  return Object.fromEntries(
    [...done]
      .filter(([key]) => key.startsWith(prefix))
      .map(([key, count]) => [key.slice(prefix.length), count]),
  );
}
