/** Steps that do work: one after the other and beside one another, with attempts that fail or take too long. */
import { NonRetryableError, StepError } from '@ironflow/sdk';
import { defineCase } from '../case.js';
import type { AnyCase } from '../case.js';

export const workCases: AnyCase[] = [
  defineCase<{ n: number; stepMs: number[] }>({
    name: 'steps',
    weight: 6,
    isProbe: true,
    draw: (random) => ({
      n: random.whole(0, 1_000),
      stepMs: [random.whole(10, 150), random.whole(10, 150), random.whole(10, 150)],
    }),
    functions: (kit) => [
      kit.define<{ n: number; stepMs: number[] }>('steps', async ({ input, work }) => {
        let sum = input.n;
        for (const [index, forMs] of input.stepMs.entries()) {
          sum = (await work(`step ${index}`, { forMs, result: () => sum + index })) as number;
        }
        return sum;
      }),
    ],
    expect: ({ n }, { functionId }) => [
      { functionId: functionId('steps'), status: 'completed', output: n + 3 },
    ],
  }),
  defineCase<{ failures: number }>({
    name: 'flaky',
    weight: 3,
    draw: (random) => ({ failures: random.whole(1, 4) }),
    functions: (kit) => [
      kit.define<{ failures: number }>('flaky', async ({ input, work }) => {
        const answer = await work('flaky', {
          forMs: 20,
          retries: { attempts: 4, initialDelayMs: 300, factor: 2, maxDelayMs: 2_000 },
          result: (attempt) => {
            if (attempt <= input.failures) throw new Error('busy');
            return attempt;
          },
        }).catch((error: unknown) => {
          if (error instanceof StepError) return 'given up';
          throw error;
        });
        return work('tell', { forMs: 20, result: () => answer });
      }),
    ],
    expect: ({ failures }, { functionId }) => [
      {
        functionId: functionId('flaky'),
        status: 'completed',
        output: failures < 4 ? failures + 1 : 'given up',
      },
    ],
  }),
  defineCase<{ n: number }>({
    name: 'slow-attempt',
    weight: 1,
    draw: (random) => ({ n: random.whole(0, 1_000) }),
    functions: (kit) => [
      kit.define<{ n: number }>('slow-attempt', async ({ input, step, attempt }) =>
        step.run(
          'slow',
          (context) =>
            attempt('slow', context, { forMs: context.attempt === 1 ? 5_000 : 20, result: () => input.n }),
          { timeout: '500ms', retries: { attempts: 20, initialDelayMs: 100, maxDelayMs: 500 } },
        ),
      ),
    ],
    expect: ({ n }, { functionId }) => [
      { functionId: functionId('slow-attempt'), status: 'completed', output: n },
    ],
  }),
  defineCase<{ items: number[]; concurrency: number }>({
    name: 'map',
    weight: 2,
    draw: (random) => ({
      items: Array.from({ length: random.whole(2, 8) }, () => random.whole(0, 100)),
      concurrency: random.whole(1, 4),
    }),
    functions: (kit) => [
      kit.define<{ items: number[]; concurrency: number }>('map', async ({ input, step, attempt }) =>
        step.map(
          'double',
          input.items,
          (item, context) =>
            attempt(`double[${context.index}]`, context, { forMs: item, result: () => item * 2 }),
          { concurrency: input.concurrency },
        ),
      ),
    ],
    expect: ({ items }, { functionId }) => [
      { functionId: functionId('map'), status: 'completed', output: items.map((item) => item * 2) },
    ],
  }),
  defineCase<{ napMs: number }>({
    name: 'parallel',
    weight: 2,
    draw: (random) => ({ napMs: random.whole(100, 1_500) }),
    functions: (kit) => [
      kit.define<{ napMs: number }>('parallel', async ({ input, step, work, passing }) => {
        const { left, right, broken } = await step.parallel(
          'look up',
          {
            left: (tools) => work('ask', { forMs: 80, result: () => 'left', tools, prefix: 'look up.left.' }),
            right: async (tools) => {
              const stepId = 'look up.right.nap';
              await passing(stepId, { forMs: input.napMs }, () => tools.sleep('nap', input.napMs));
              return work('ask', { forMs: 40, result: () => 'right', tools, prefix: 'look up.right.' });
            },
            broken: (tools) =>
              work('ask', {
                forMs: 40,
                result: () => {
                  throw new NonRetryableError('no');
                },
                tools,
                prefix: 'look up.broken.',
              }),
          },
          { mode: 'allSettled' },
        );
        return [left.status, right.status, broken.status];
      }),
    ],
    expect: (_, { functionId }) => [
      {
        functionId: functionId('parallel'),
        status: 'completed',
        output: ['fulfilled', 'fulfilled', 'rejected'],
      },
    ],
  }),
  defineCase<{ n: number }>({
    name: 'patched',
    weight: 1,
    draw: (random) => ({ n: random.whole(0, 1_000) }),
    functions: (kit) => [
      kit.define<{ n: number }>('patched', async ({ input, step, work }) => {
        await work('before', { forMs: 50, result: () => 'before' });
        if (!(await step.patched('new way'))) return 'the old way';
        return work('after', { forMs: 50, result: () => input.n });
      }),
    ],
    expect: ({ n }, { functionId }) => [
      { functionId: functionId('patched'), status: 'completed', output: n },
    ],
  }),
];
