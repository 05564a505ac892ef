/** `step.map` and `step.parallel` against a run that is kept in memory; their crashes are in the property test. One subject, so one file. */
import { describe, expect, test } from '@jest/globals';
import { limits } from '@ironflow/schema';
import { NonRetryableError, StepError } from '../function-errors.js';
import type { HandlerContext } from '../function.js';
import type { Branch, MapOptions, StepTools } from '../step-tools.js';
import { activate, define, drive, newRun, turn, valueOf } from '../testing/memory-run.js';

const modes = ['pull', 'push'] as const;
const run = async (
  handler: (context: HandlerContext<unknown>) => unknown,
  mode: (typeof modes)[number] = 'pull',
) => {
  const memory = newRun();
  const outcome = await drive({ run: memory, definition: define(handler), mode });
  return { memory, outcome, ids: memory.records.map(({ id }) => id) };
};

/** Work of which the test can say how much of it was under way at once. */
function counting() {
  const seen = { now: 0, most: 0 };
  const work = async <T>(value: T, turns = 3): Promise<T> => {
    seen.most = Math.max(seen.most, ++seen.now);
    for (let count = 0; count < turns; count += 1) await turn();
    seen.now -= 1;
    return value;
  };
  return { seen, work };
}

describe.each(modes)('step.map (%s)', (mode) => {
  test('runs each item as a step of its own and resolves with the outputs in the order of the items', async () => {
    const { memory, outcome, ids } = await run(
      ({ step }) =>
        step.map('square', [3, 2, 1], async (item, { index, attempt }) => {
          for (let turns = 0; turns < item; turns += 1) await turn();
          return [item * item, index, attempt];
        }),
      mode,
    );
    expect(valueOf(outcome)).toEqual([
      [9, 0, 1],
      [4, 1, 1],
      [1, 2, 1],
    ]);
    expect(ids).toEqual(['square[2]', 'square[1]', 'square[0]']);
    expect(memory.records).toMatchObject([{ type: 'run', name: 'square[2]' }, {}, {}]);
  });

  test('has at most so many items under way as its concurrency says', async () => {
    const { seen, work } = counting();
    const { outcome } = await run(
      ({ step }) => step.map('one', [1, 2, 3, 4, 5], (item) => work(item, 6 - item), { concurrency: 2 }),
      mode,
    );
    expect(valueOf(outcome)).toEqual([1, 2, 3, 4, 5]);
    expect(seen.most).toBe(2);
  });

  test('fails fast with the error of the item, begins no further one, and leaves what is under way alone', async () => {
    const begun: number[] = [];
    const { outcome, ids } = await run(async ({ step }) => {
      const work = async (item: number) => {
        begun.push(item);
        if (item === 1) throw new NonRetryableError('no');
        for (let turns = 0; turns < 5; turns += 1) await turn();
      };
      const error: unknown = await step
        .map('send', [0, 1, 2, 3], work, { concurrency: 2 })
        .catch((thrown: unknown) => thrown);
      return error instanceof StepError && error.stepId;
    }, mode);
    expect(valueOf(outcome)).toBe('send[1]');
    expect(begun).toEqual([0, 1]);
    expect(ids).toEqual(['send[1]', 'send[0]']);
  });

  test('says of each item what became of it, as JSON that the function can return', async () => {
    class Declined extends Error {}
    const { outcome } = await run(
      ({ step }) =>
        step.map('charge', [1, 2], (item) => (item === 1 ? item : Promise.reject(new Declined('no funds'))), {
          mode: 'allSettled',
          retries: 2,
        }),
      mode,
    );
    expect(valueOf(outcome)).toEqual([
      { status: 'fulfilled', value: 1 },
      {
        status: 'rejected',
        reason: {
          name: 'StepError',
          message: 'step "charge[1]" failed after 2 attempts: Declined: no funds',
          stepId: 'charge[1]',
          attempts: 2,
          failure: { name: 'Declined', message: 'no funds' },
        },
      },
    ]);
  });
});

describe('step.map', () => {
  test('gives its retries and its timeout to each item', async () => {
    const { memory } = await run(({ step }) =>
      step.map('flaky', ['a'], () => Promise.reject(new Error('down')), {
        mode: 'allSettled',
        retries: { attempts: 2, initialDelayMs: 0 },
      }),
    );
    expect(memory.records).toMatchObject([{ status: 'retrying', retryInMs: 0 }, { status: 'failed' }]);
    const { outcome } = await run(({ step }) =>
      step.map('timed', ['a'], () => 1, { timeout: '2d', mode: 'allSettled' }),
    );
    expect(outcome).toMatchObject({
      error: { message: expect.stringContaining('step "timed[0]": timeout: ') },
    });
  });

  test('takes a name of its own each time, however far the one before came', async () => {
    const { ids } = await run(async ({ step }) => {
      const fails = () => Promise.reject(new NonRetryableError('no'));
      await step.map('send', [1, 2], fails, { concurrency: 1 }).catch(() => {});
      await step.map('send', [1, 2], () => 1);
      await step.run('send', () => 1);
    });
    expect(ids).toEqual(['send[0]', 'send:1[0]', 'send:1[1]', 'send']);
  });

  test('works on the items as they were when it was called', async () => {
    const { outcome } = await run(async ({ step }) => {
      const items = [1, 2, 3];
      const mapped = step.map('double', items, (item) => item * 2, { concurrency: 1 });
      items.length = 0;
      return mapped;
    });
    expect(valueOf(outcome)).toEqual([2, 4, 6]);
  });

  test('of nothing resolves with nothing', async () => {
    const { memory, outcome } = await run(({ step }) => step.map('none', [], () => 1));
    expect(valueOf(outcome)).toEqual([]);
    expect(memory.records).toEqual([]);
  });

  test('is refused as a whole when it has more items than a run has steps left', async () => {
    let begun = 0;
    const { outcome, ids } = await run(async ({ step }) => {
      await step.run('first', () => 1);
      await step.map('many', Array.from({ length: 1_000 }), () => (begun += 1));
    });
    expect(outcome).toMatchObject({
      error: {
        name: 'ConfigurationError',
        message:
          'step.map "many": a run has at most 1000 steps (stepsPerRunMax), and 999 are left for 1000 items',
      },
    });
    expect({ begun, ids }).toEqual({ begun: 0, ids: ['first'] });
  });

  test('does not begin inside a step', async () => {
    const { outcome } = await run(({ step }) =>
      step.run('outer', () => step.map('inner', [1], () => 1)).catch((error: Error) => error.message),
    );
    expect(valueOf(outcome)).toContain('step "inner[0]" is called inside step "outer"');
  });
});

describe.each(modes)('step.parallel (%s)', (mode) => {
  test('keeps steps of one name in two branches apart, whatever their timing', async () => {
    const slowFirst = async (turns: number[]) => {
      const branch =
        (index: number): Branch<unknown[]> =>
        async (step) => {
          for (let count = 0; count < turns[index]!; count += 1) await turn();
          const one = await step.run('load', () => `${index} one`);
          await step.sleep('rest', '1h');
          return [one, await step.run('load', () => `${index} two`)];
        };
      return run(({ step }) => step.parallel('sync', [branch(0), branch(1)]), mode);
    };
    for (const turns of [
      [0, 5],
      [5, 0],
    ]) {
      const { memory, outcome } = await slowFirst(turns);
      expect(valueOf(outcome)).toEqual([
        ['0 one', '0 two'],
        ['1 one', '1 two'],
      ]);
      expect([...memory.steps.keys()].sort()).toEqual([
        'sync[0].load',
        'sync[0].load:1',
        'sync[0].rest',
        'sync[1].load',
        'sync[1].load:1',
        'sync[1].rest',
      ]);
    }
  });

  test('takes an object of branches, and nests', async () => {
    const { memory, outcome } = await run(
      ({ step }) =>
        step.parallel('both', {
          stock: (own) => own.run('check', () => 3),
          price: (own) => own.parallel('of', [(inner) => inner.map('each', [1, 2], (item) => item * 10)]),
        }),
      mode,
    );
    expect(valueOf(outcome)).toEqual({ stock: 3, price: [[10, 20]] });
    expect([...memory.steps.keys()].sort()).toEqual([
      'both.price.of[0].each[0]',
      'both.price.of[0].each[1]',
      'both.stock.check',
    ]);
  });

  test('has at most so many branches under way as its concurrency says, sleeps included', async () => {
    const { seen, work } = counting();
    const branch = (step: StepTools) =>
      step
        .run('work', () => work(1))
        .then(() => step.sleep('rest', '1h'))
        .then(() => step.run('work', () => work(2)));
    const { memory, outcome } = await run(
      ({ step }) => step.parallel('p', [branch, branch, branch], { concurrency: 1 }),
      mode,
    );
    expect(valueOf(outcome)).toEqual([2, 2, 2]);
    expect(seen.most).toBe(1);
    expect([...new Set(memory.records.map(({ id }) => id))]).toEqual(
      [0, 1, 2].flatMap((index) => [`p[${index}].work`, `p[${index}].rest`, `p[${index}].work:1`]),
    );
  });

  test('fails fast with the first error of a branch, whatever threw it', async () => {
    const begun: string[] = [];
    const { outcome } = await run(
      ({ step }) =>
        step
          .parallel(
            'p',
            {
              breaks: async (own) => {
                await own.run('a', () => 1);
                throw new RangeError('out of it');
              },
              sleeps: (own) => own.sleep('long', '1h'),
              never: async () => begun.push('never'),
            },
            { concurrency: 2 },
          )
          .catch((error: Error) => `${error.name} ${error.message}`),
      mode,
    );
    expect(valueOf(outcome)).toBe('RangeError out of it');
    expect(begun).toEqual([]);
  });

  test('says of each branch what became of it', async () => {
    const { outcome } = await run(
      ({ step }) =>
        step.parallel(
          'p',
          { fine: (own) => own.run('a', () => 1), broken: () => Promise.reject(new TypeError('bad')) },
          { mode: 'allSettled' },
        ),
      mode,
    );
    expect(valueOf(outcome)).toEqual({
      fine: { status: 'fulfilled', value: 1 },
      broken: { status: 'rejected', reason: { name: 'TypeError', message: 'bad' } },
    });
  });
});

describe('what breaks a rule is refused before anything begins', () => {
  const many = Array.from({ length: 10_000 }, () => async () => 1);
  const call = (begin: (step: StepTools) => unknown) =>
    activate({ run: newRun(), definition: define(({ step }) => begin(step)) });

  test('10,000 items or branches, naming the limit and the number', async () => {
    let begun = 0;
    expect(await call((step) => step.map('send', many, () => (begun += 1)))).toEqual({
      kind: 'threw',
      error: expect.objectContaining({
        name: 'ConfigurationError',
        message: 'step.map "send": 10000 items are above the limit of 1000 (parallelMax)',
      }),
    });
    const branches = many.map(() => async () => (begun += 1));
    expect(await call((step) => step.parallel('p', branches))).toMatchObject({
      error: { message: 'step.parallel "p": 10000 branches are above the limit of 1000 (parallelMax)' },
    });
    expect(begun).toBe(0);
    const most = Array.from({ length: limits.parallelMax }, () => async () => 1);
    expect(await call((step) => step.parallel('p', most))).toMatchObject({ kind: 'completed' });
  });

  test.each([0, -1, 1.5, Number.NaN, '2', null])('a concurrency of %p', async (concurrency) => {
    const options = { concurrency } as MapOptions;
    for (const begin of [
      (step: StepTools) => step.map('m', [1], () => 1, options),
      (step: StepTools) => step.parallel('m', [() => 1], options),
    ]) {
      expect(await call(begin)).toMatchObject({
        error: { message: expect.stringContaining('"m": concurrency: must be a whole number from 1') },
      });
    }
  });

  test.each<[string, (step: StepTools) => unknown]>([
    ['mode: must be', (step) => step.map('m', [1], () => 1, { mode: 'all' as 'failFast' })],
    ['must be an array', (step) => step.map('m', 'items' as never, () => 1)],
    ['must be a function', (step) => step.map('m', [1], 1 as never)],
    ['a step needs a name', (step) => step.map('', [1], () => 1)],
    ['a step needs a name', (step) => step.parallel(undefined as never, [])],
    ['an array or an object of functions', (step) => step.parallel('p', null as never)],
    ['branch 1 is no function', (step) => step.parallel('p', [() => 1, 1 as never])],
    ['branch 0 is no function', (step) => step.parallel('p', new Array(2) as never)],
    ['branch "a" is no function', (step) => step.parallel('p', { a: 1 as never })],
    ['"a.b" cannot name a branch', (step) => step.parallel('p', { 'a.b': () => 1 })],
    ['a step needs a name', (step) => step.parallel('p', [(own) => own.run('', () => 1)])],
    ['a step needs a name', (step) => step.parallel('p', [(own) => own.sleep(undefined as never, 1)])],
  ])('%s', async (message, begin) => {
    const outcome = await call(begin);
    expect(outcome).toMatchObject({
      kind: 'threw',
      error: { name: 'ConfigurationError', message: expect.stringContaining(message) },
    });
    expect(outcome).not.toHaveProperty('retryInMs');
  });

  test('a name that is too long with its prefix, or only for the last items', async () => {
    const name = 'n'.repeat(250);
    const outcome = await call((step) => step.parallel('p', [(own) => own.run(name, () => 1), () => 1]));
    expect(outcome).toMatchObject({ kind: 'completed' });
    const longer = await call((step) => step.parallel('branch', [(own) => own.run(name, () => 1)]));
    expect(longer).toMatchObject({
      error: {
        message: expect.stringMatching(/at most 256 bytes, with the prefixes.*"branch\[0\]\.n+…" has 260/),
      },
    });
    let begun = 0;
    const items = Array.from({ length: 1_000 });
    expect(await call((step) => step.map('n'.repeat(252), items, () => (begun += 1)))).toMatchObject({
      error: { message: expect.stringContaining('at most 256 bytes') },
    });
    expect(begun).toBe(0);
  });

  test('and nobody who does not await it ends the process by it', async () => {
    const unhandled: unknown[] = [];
    const note = (reason: unknown) => unhandled.push(reason);
    process.on('unhandledRejection', note);
    await call((step) => {
      void step.map('', [1], () => 1);
      void step.map('m', [1], () => Promise.reject(new NonRetryableError('no')));
      void step.parallel('p', [() => Promise.reject(new Error('no'))]);
    });
    await turn();
    process.off('unhandledRejection', note);
    expect(unhandled).toEqual([]);
  });
});

test('waits of a branch have its names, and their signals those that a sender knows', async () => {
  const { memory } = await run(({ step }) =>
    step.parallel('p', {
      a: async (branch) => [
        await branch.waitForSignal('go'),
        await branch.waitForSignal('on', { signal: 'go' }),
        await branch.waitForEvent('paid', { event: 'order.paid' }),
        await branch.invoke('child', { function: 'child', timeout: '1h' }).catch(() => null),
        await branch.invokeAsync('aside', { function: 'child' }),
      ],
    }),
  );
  const awaited = memory.records.flatMap((record) =>
    record.status === 'waiting' && record.type !== 'sleep' ? [[record.id, record.awaited]] : [],
  );
  expect(awaited).toEqual([
    ['p.a.go', { kind: 'signal', signal: 'go' }],
    ['p.a.on', { kind: 'signal', signal: 'go' }],
    ['p.a.paid', { kind: 'event', event: 'order.paid' }],
    ['p.a.child', expect.objectContaining({ kind: 'run', functionId: 'child' })],
  ]);
  expect(memory.records.at(-1)).toMatchObject({ id: 'p.a.aside', status: 'completed' });
});

test('results have their types', () => {
  const typed = async (step: StepTools) => {
    const dates: { at: string }[] = await step.map('m', [1], (item) => ({ at: new Date(item) }));
    const settled = await step.map('m', ['a'], (item, { index }) => item.length + index, {
      mode: 'allSettled',
    });
    if (settled[0]?.status === 'fulfilled') settled[0].value satisfies number;
    const limited: number[] = await step.map('m', ['a'], (item) => item.length, { concurrency: 2 });
    const [number, text]: [number, string] = await step.parallel('p', [async () => 1, () => 'a']);
    const { a } = await step.parallel('p', { a: () => 1 }, { mode: 'allSettled' });
    if (a.status === 'rejected') a.reason.message satisfies string;
    // @ts-expect-error a result, not the value
    a satisfies number;
    return [dates, limited, number, text];
  };
  expect(typed).toBeInstanceOf(Function);
});
