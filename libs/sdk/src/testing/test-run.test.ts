/** The test kit, as its users see it. Its example in the README is a test file of its own; all else is one subject. */
import { readFile } from 'node:fs/promises';
import { describe, expect, test } from '@jest/globals';
import { z } from 'zod';
import { ConfigurationError } from '../configuration-error.js';
import { NonRetryableError, RetryAfterError, StepError } from '../function-errors.js';
import { createFunction } from '../function.js';
import type { FunctionOptions, HandlerContext, IronflowFunction } from '../function.js';
import { createTestRun } from './test-run.js';
import type { TestRunOptions } from './test-run-options.js';

const start = new Date('2026-01-01T00:00:00Z');
const after = (ms: number) => new Date(start.getTime() + ms);
const hour = 3_600_000;

const define = <Output>(
  handler: (context: HandlerContext<unknown>) => Output,
  options: Partial<FunctionOptions<unknown>> = {},
) => createFunction({ id: 'under-test', triggers: [], ...options }, handler);

describe.each(['pull', 'push'] as const)('a run in memory (%s)', (mode) => {
  test('answers what it waits for with what it is given, and lets time pass for the rest', async () => {
    const definition = define(async ({ step }) => {
      const paid = await step.waitForEvent<{ n: number }>('payment', { event: 'order.paid', timeout: '1h' });
      const approved = await step.waitForSignal('approve', { timeout: '2h' });
      const shipped = await step.invoke('ship', { function: 'ship' });
      const refused = await step
        .invoke('refund', { function: 'refund' })
        .catch((error: StepError) => error.failure.message);
      const late = await step
        .invoke('late', { function: 'late', timeout: '3h' })
        .catch((error: StepError) => error.failure.name);
      return [paid?.data.n, approved, shipped, refused, late];
    });
    const run = createTestRun(definition, {
      mode,
      now: start,
      steps: {
        payment: { name: 'order.paid', data: { n: 7 } },
        ship: ({ stepId }) => ({ id: stepId, at: start }),
        refund: new RangeError('nothing left'),
      },
    });
    const { output, now, unusedMocks, steps } = await run.execute();
    expect(output).toEqual([
      7,
      null,
      { id: 'ship', at: start.toISOString() },
      'nothing left',
      'InvokeTimeout',
    ]);
    expect(now()).toEqual(after(5 * hour));
    expect(unusedMocks).toEqual([]);
    expect(steps.map(({ id, status }) => `${id} ${status}`)).toEqual([
      'payment completed',
      'approve completed',
      'ship completed',
      'refund failed',
      'late failed',
    ]);
  });

  test('that waits for ever says for what', async () => {
    const run = createTestRun(
      define(({ step }) => step.invoke('child', { function: 'child' })),
      { mode },
    );
    await expect(run.execute()).rejects.toThrow('the run waits for what time will not bring: child');
  });

  test('says what became of the function and of each of its steps', async () => {
    const definition = define(async ({ step, logger }) => {
      logger.info('begins');
      await step.run('one', () => ({ at: start }));
      await step.sleep('rest', '1h');
      logger.info('goes on', { n: 1 });
      const failed = await step
        .run('two', () => Promise.reject(new RangeError('no')), { retries: 2 })
        .catch((error: unknown) => error instanceof StepError);
      return { failed, at: start };
    });
    const result = await createTestRun(definition, { mode, now: start }).execute();
    expect(result).toMatchObject({
      status: 'completed',
      output: { failed: true, at: '2026-01-01T00:00:00.000Z' },
      error: undefined,
      logs: [
        { level: 'info', message: 'begins' },
        { level: 'info', message: 'goes on', fields: { n: 1, functionId: 'under-test' } },
      ],
      sent: [],
      unusedMocks: [],
    });
    expect(result.steps).toMatchObject([
      {
        id: 'one',
        name: 'one',
        type: 'run',
        status: 'completed',
        attempts: 1,
        output: { at: start.toJSON() },
      },
      { id: 'rest', type: 'sleep', status: 'completed', output: undefined, error: undefined },
      { id: 'two', status: 'failed', attempts: 2, error: { name: 'RangeError', message: 'no' } },
    ]);
  });

  test('lets sleeps and retries pass on its own clock, side by side', async () => {
    const seen = new Map<string, number>();
    const run = createTestRun(
      define(async ({ step }) => {
        const note = (what: string) => () => {
          if (!seen.has(what)) seen.set(what, run.now().getTime() - start.getTime());
        };
        await Promise.all([
          step.sleep('long', '5h').then(note('long')),
          step.sleepUntil('until', after(2 * hour)).then(note('until')),
          step
            .run('flaky', ({ attempt }) => (attempt < 3 ? Promise.reject(new Error('down')) : attempt), {
              retries: { initialDelayMs: hour, factor: 2, maxDelayMs: 24 * hour },
            })
            .then(note('flaky')),
        ]);
      }),
      { mode, now: start },
    );
    const { now } = await run.execute();
    expect([...seen]).toEqual([
      ['until', 2 * hour],
      ['flaky', 3 * hour],
      ['long', 5 * hour],
    ]);
    expect(now()).toEqual(after(5 * hour));
  });

  test('dies after the records it was told to, and goes on from what was kept', async () => {
    let begun = 0;
    const definition = define(async ({ step }) => {
      begun += 1;
      const done: number[] = [];
      for (let n = 0; n < 3; n += 1) done.push(await step.run('one', () => n));
      return done;
    });
    const undisturbed = await createTestRun(definition, { mode }).execute();
    const activations = begun;
    const died = await createTestRun(definition, { mode, crashAfter: [1, 3] }).execute();
    expect(died.output).toEqual([0, 1, 2]);
    expect(died.steps).toEqual(undisturbed.steps);
    expect(begun - activations).toBe(activations + 2);
  });

  test('calls the function again by its retries, and fails when they are used up', async () => {
    const attempts: number[] = [];
    const result = await createTestRun(
      define(
        async ({ run, step }) => {
          attempts.push(run.attempt);
          await step.run('progress', () => 1);
          throw new TypeError('outside of a step');
        },
        { retries: { attempts: 2, initialDelayMs: 60_000 } },
      ),
      { mode, now: start },
    ).execute();
    expect(result).toMatchObject({
      status: 'failed',
      output: undefined,
      error: { name: 'TypeError', message: 'outside of a step' },
    });
    expect(attempts.at(-1)).toBe(2);
    expect(result.now()).toEqual(after(60_000));
  });

  test('counts the attempts of the function anew once it has come forward', async () => {
    const attempts: number[] = [];
    const definition = define(async ({ run, step }) => {
      attempts.push(run.attempt);
      if (attempts.length === 1) throw new Error('before');
      await step.sleep('rest', '1h');
      if (attempts.length === 3) throw new Error('behind');
    });
    expect(await createTestRun(definition, { mode }).execute()).toMatchObject({ status: 'completed' });
    expect(attempts).toEqual([1, 2, 1, 2]);
  });

  test('lets sleeps end in the order of their times, also those that end while the function rests', async () => {
    const definition = define(async ({ run, step }) => {
      const first = Promise.race([
        step.sleep('longer', '30m').then(() => 'longer'),
        step.sleep('shorter', '10m').then(() => 'shorter'),
      ]);
      if (run.attempt === 1) throw new RetryAfterError('not yet', '1h');
      return first;
    });
    expect((await createTestRun(definition, { mode }).execute()).output).toBe('shorter');
  });

  test('keeps the first of what a crash sends twice', async () => {
    let sends = 0;
    const definition = define(({ step }) =>
      step.sendEvent('tell', [{ name: 'a.b', data: ++sends }, { name: 'c.d' }]),
    );
    const { sent, output } = await createTestRun(definition, { mode, crashAfter: [1] }).execute();
    expect(sends).toBe(2);
    expect(sent).toMatchObject([{ name: 'a.b', data: 1 }, { name: 'c.d' }]);
    expect(output).toEqual({ ids: ['event-0', 'event-1'] });
  });
});

describe('a crash', () => {
  test.each([
    ['pull', 1],
    ['push', 2],
  ] as const)('loses in %s mode what was not recorded, which is done again', async (mode, times) => {
    let done = 0;
    const definition = define(({ step }) => step.run('one', () => (done += 1)));
    await createTestRun(definition, { mode, crashAfter: [1] }).execute();
    expect(done).toBe(times);
  });

  test('keeps no more than it was told to of steps that end together', async () => {
    const done: string[] = [];
    const definition = define(({ step }) =>
      Promise.all([step.run('a', () => done.push('a')), step.run('b', () => done.push('b'))]),
    );
    await createTestRun(definition, { crashAfter: [1] }).execute();
    expect(done).toEqual(['a', 'b', 'b']);
  });

  test('counts each attempt, and the beginning of a sleep, as a record', async () => {
    const seen: string[] = [];
    const definition = define(async ({ step }) => {
      seen.push('begins');
      await step.run('flaky', ({ attempt }) => (attempt === 1 ? Promise.reject(new Error('down')) : 1));
      seen.push('awake');
      await step.sleep('rest', '1h');
    });
    await createTestRun(definition, { crashAfter: [1, 3] }).execute();
    expect(seen.join(' ')).toBe(
      // Dead after the failed attempt; waits for the next one; dead as it sleeps; sleeps; is done.
      ['begins', 'begins', 'begins awake', 'begins awake', 'begins awake'].join(' '),
    );
  });
});

describe('a mock', () => {
  const real = () => {
    throw new Error('the real work ran');
  };

  test('is a value, a function or an error, for a step by its id or its name', async () => {
    const definition = define(async ({ step }) => [
      await step.run('value', real),
      await step.run('repeated', real),
      await step.run('repeated', real),
      await step.run('fails', real, { retries: 2 }).catch((error: StepError) => error.message),
      await step.run('final', real).catch((error: StepError) => error.attempts),
      await step.run('none', real),
      await step.sendEvent('tell', { name: 'a.b' }),
    ]);
    const { output, sent, unusedMocks } = await createTestRun(definition, {
      steps: {
        value: { at: start },
        repeated: ({ stepId, attempt, signal }) => `${stepId} ${attempt} ${signal.aborted}`,
        'repeated:1': 'by its id',
        fails: new RangeError('no'),
        final: new NonRetryableError('never'),
        none: undefined,
        tell: { ids: ['x'] },
        'reapeated:2': 'misspelt',
      },
    }).execute();
    expect(output).toEqual([
      { at: start.toJSON() },
      'repeated 1 false',
      'by its id',
      'step "fails" failed after 2 attempts: RangeError: no',
      1,
      null,
      { ids: ['x'] },
    ]);
    expect(sent).toEqual([]);
    expect(unusedMocks).toEqual(['reapeated:2']);
  });

  test('finds steps in branches, and all items of a map by its name', async () => {
    const definition = define(({ step }) =>
      step.parallel('p', { a: (own) => own.run('ask', real), b: (own) => own.map('each', [1, 2, 3], real) }),
    );
    const steps = {
      'p.a.ask': 1,
      'p.b.each': ({ stepId }: { stepId: string }) => stepId,
      'p.b.each[1]': 'one',
    };
    const { output } = await createTestRun(definition, { steps }).execute();
    expect(output).toEqual({ a: 1, b: ['p.b.each[0]', 'one', 'p.b.each[2]'] });
  });

  test('is none that only every object has', async () => {
    const definition = define(({ step }) => step.run('toString', () => 'real'));
    expect((await createTestRun(definition, { steps: {} }).execute()).output).toBe('real');
  });

  test('goes through JSON as the work’s own output would', async () => {
    const definition = define(({ step }) => step.run('one', real));
    const { error } = await createTestRun(definition, { steps: { one: { n: Number.NaN } } }).execute();
    expect(error?.message).toContain('there is NaN at "n"');
  });
});

describe('the event', () => {
  const echo = define(({ event }) => ({ ...event }));

  test('has the data of the test, the name of the first trigger, and defaults for the rest', async () => {
    const definition = createFunction(
      {
        id: 'f',
        triggers: [{ event: 'user.*' }, { event: 'user.created' }],
        schema: z.object({ n: z.number() }),
      },
      ({ event }) => event,
    );
    const { output } = await createTestRun(definition, { data: { n: 1 }, now: start }).execute();
    expect(output).toMatchObject({ name: 'user.created', data: { n: 1 }, receivedAt: start.toJSON() });
    // @ts-expect-error the schema takes a number
    const wrong = await createTestRun(definition, { data: { n: '1' } }).execute();
    expect(wrong).toMatchObject({ status: 'failed', error: { name: 'EventSchemaError' } });
    expect((await createTestRun(echo).execute()).output).toMatchObject({ name: 'test.event' });
    expect((await createTestRun(echo).execute()).output).not.toHaveProperty('data');
  });

  test('can be given whole', async () => {
    const event = {
      id: '0192f0c0-0000-7000-8000-000000000009',
      name: 'order.placed',
      data: [1],
      version: '2',
      receivedAt: '2025-05-05T00:00:00.000Z',
      correlationId: 'order-7',
    };
    expect((await createTestRun(echo, { event }).execute()).output).toEqual(event);
  });
});

describe('of a batch', () => {
  const batched = createFunction(
    {
      id: 'sum',
      triggers: [{ event: 'meter.read' }],
      batch: { maxSize: 10, timeout: '1s' },
      schema: z.object({ value: z.string().transform(Number) }),
    },
    async ({ event, events, step }) => {
      await step.sleep('a while', '1h');
      const sum = await step.run('sum', () => events.reduce((total, { data }) => total + data.value, 0));
      return { sum, isFirst: event === events[0], ids: events.map(({ id }) => id), name: event.name };
    },
  );

  test.each(['pull', 'push'] as const)(
    'the handler gets every event, through crashes too: %s',
    async (mode) => {
      const events = ['1', '20', '300'].map((value) => ({ data: { value } }));
      const { output } = await createTestRun(batched, { events, mode, crashAfter: [1] }).execute();
      expect(output).toMatchObject({ sum: 321, isFirst: true, name: 'meter.read' });
      expect(new Set(output!.ids).size).toBe(3);
    },
  );

  test('one event that does not fit the schema fails the run, and is named', async () => {
    const events = [{ data: { value: '1' } }, { data: {} as { value: string } }];
    const { status, error } = await createTestRun(batched, { events }).execute();
    expect(status).toBe('failed');
    expect(error!.message).toContain('events[1].data.value (invalid_type)');
  });
});

test('a run is driven once, however often its result is asked for', async () => {
  let called = 0;
  const run = createTestRun(define(() => (called += 1)));
  expect(await run.execute()).toBe(await run.execute());
  expect(called).toBe(1);
});

test('a step that the function did not wait for is told as it was left', async () => {
  const definition = define(async ({ step }) => void step.sleep('long', '1h'));
  const { steps, now } = await createTestRun(definition, { now: start }).execute();
  expect(steps).toMatchObject([{ id: 'long', status: 'waiting' }]);
  expect(now()).toEqual(start);
});

describe('a mistake in the options is refused, naming the option', () => {
  const circle: unknown[] = [];
  circle.push(circle);
  test.each<[string, unknown]>([
    ['crash: is not a known field', { crash: [1] }],
    ['the options: must be an object', null],
    ['steps: must be an object', { steps: [] }],
    ['mode: must be "pull" or "push"', { mode: 'both' }],
    ['now: must be a valid Date', { now: 0 }],
    ['now: must be a valid Date', { now: new Date('soon') }],
    ['crashAfter: must be whole numbers from 1', { crashAfter: 1 }],
    ['crashAfter: must be whole numbers from 1', { crashAfter: [0] }],
    ['crashAfter: must be whole numbers from 1', { crashAfter: [2, 2] }],
    ['data: the event', { data: circle }],
    ['data: the event', { data: () => 1 }],
    ['give either data or event', { data: 1, event: {} }],
    ['give either events or one event', { events: [{}], data: 1 }],
    ['events: must be a list of 1 to 1000 events', { events: [] }],
    ['events[1].nmae: is not a known field', { events: [{}, { nmae: 'a' }] }],
    ['events[1].id: ', { events: [{}, { id: '7' }] }],
    ['event: must be an object', { event: 'order.placed' }],
    ['event.nmae: is not a known field', { event: { nmae: 'a' } }],
    ['event.id: ', { event: { id: '7' } }],
    ['event.name: ', { event: { name: 7 } }],
    ['event.receivedAtMs: ', { event: { receivedAt: 'soon' } }],
  ])('%s', (message, options) => {
    const begin = () =>
      createTestRun(
        define(() => 1),
        options as TestRunOptions,
      );
    expect(begin).toThrow(ConfigurationError);
    expect(begin).toThrow(message);
  });

  test('and so is what is no function', () => {
    expect(() => createTestRun((() => 1) as unknown as IronflowFunction)).toThrow(
      'what createFunction returns',
    );
  });
});

test('the example in the README is the test that runs here, but for where it imports from', async () => {
  const read = (path: string) => readFile(new URL(path, import.meta.url), 'utf8');
  const example = (await read('./example.test.ts'))
    .replace("'../index.js'", "'@ironflow/sdk'")
    .replace("'./index.js'", "'@ironflow/sdk/testing'");
  expect(await read('../../README.md')).toContain(`\`\`\`ts\n${example}\`\`\``);
});

describe('what a function has registered to be undone', () => {
  const book = (done: string[]) =>
    createFunction({ id: 'book', triggers: [], retries: 2 }, async ({ step }) => {
      await step.run('room', () => 1);
      await step.compensate('room', () => done.push('real'));
      await step.sleep('night', '8h');
      await step.run('pay', () => {
        throw new Error('declined');
      });
    });

  test('is undone when it fails, by a mock where one is given', async () => {
    const done: string[] = [];
    const steps = { 'compensate(room)': () => done.push('mocked') };
    const result = await createTestRun(book(done), { steps }).execute();
    expect(result).toMatchObject({ status: 'failed', notCompensated: [], unusedMocks: [] });
    expect(done).toEqual(['mocked']);
    const plain = await createTestRun(book(done)).execute();
    expect(plain.steps.find(({ id }) => id === 'compensate(room)')).toMatchObject({
      type: 'compensate',
      status: 'completed',
      attempts: 1,
    });
    expect(done).toEqual(['mocked', 'real']);
  });

  test('is undone when it is cancelled, and listed if it cannot be', async () => {
    const steps = {
      pay: () => run.cancel(),
      'compensate(room)': new Error('occupied'),
    };
    const run = createTestRun(book([]), { steps });
    const result = await run.execute();
    expect(result).toMatchObject({
      status: 'cancelled',
      error: undefined,
      notCompensated: [{ step: 'compensate(room)', error: { message: 'occupied' } }],
    });
    expect(result.steps.find(({ id }) => id === 'pay')).toBeUndefined();
  });

  test('is nothing in a run that is cancelled before it began', async () => {
    const run = createTestRun(book([]));
    run.cancel();
    expect(await run.execute()).toMatchObject({ status: 'cancelled', steps: [], notCompensated: [] });
  });
});

describe('secrets of a run', () => {
  const reading = define(({ step, secrets, logger }) =>
    step.run('use', async () => {
      const key = await secrets.get('API_KEY');
      logger.info('using', { key });
      if (key.startsWith('bad')) throw new NonRetryableError(`refused: ${key}`);
      return key.length;
    }),
  );

  test('are those of the options, and stand neither in lines of the log nor in errors', async () => {
    const secrets = { API_KEY: 'bad-key-of-the-test' };
    const result = await createTestRun(reading, { secrets }).execute();
    expect(result).toMatchObject({
      status: 'failed',
      logs: [{ message: 'using', fields: { key: '[secret]' } }],
    });
    expect(result.steps[0]!.error?.message).toBe('refused: [secret]');
    expect(JSON.stringify(result)).not.toContain(secrets.API_KEY);
  });

  test('fail for good when there is none of that name', async () => {
    const result = await createTestRun(reading, { secrets: {} }).execute();
    expect(result.steps).toMatchObject([{ attempts: 1, status: 'failed' }]);
    expect(result.steps[0]!.error?.message).toContain('no secret "API_KEY"');
  });

  test.each([[{ API_KEY: 7 }], [['API_KEY']], ['API_KEY']])('are texts by their names, not %j', (secrets) => {
    expect(() => createTestRun(reading, { secrets } as unknown as TestRunOptions)).toThrow(
      /^secrets: must be/,
    );
  });
});

test('config of a run is that of the options, as it would come from the platform', async () => {
  const reading = define(async ({ config }) => [await config.get('prices'), await config.get('absent')]);
  const result = await createTestRun(reading, { config: { prices: { at: start } } }).execute();
  expect(result.output).toEqual([{ at: start.toISOString() }, null]);
  expect(() => createTestRun(reading, { config: 7 as never })).toThrow(/^config: must be/);
});
