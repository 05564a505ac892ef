/** Runs that start others: functions that are invoked, and events that are sent. */
import { NonRetryableError, StepError } from '@ironflow/sdk';
import { defineCase } from '../case.js';
import type { AnyCase } from '../case.js';

export const childCases: AnyCase[] = [
  defineCase<{ n: number }>({
    name: 'invoke',
    weight: 3,
    sends: 3,
    draw: (random) => ({ n: random.whole(0, 1_000) }),
    functions: (kit) => [
      kit.define<{ n: number }>('invoke', async ({ input, run, step }) => {
        const data = (name: string) => ({ key: `${run.id} ${name}`, input: { n: input.n } });
        const doubled = step.invoke('ask', { function: kit.functionId('double'), data: data('ask') });
        const refused = step
          .invoke('ask in vain', { function: kit.functionId('refuse'), data: data('ask in vain') })
          .catch((error: unknown) => {
            if (error instanceof StepError) return 'refused';
            throw error;
          });
        await step.invokeAsync('start', { function: kit.functionId('double'), data: data('start') });
        return [await doubled, await refused];
      }),
    ],
    expect: ({ n }, { functionId }) => [
      { functionId: functionId('invoke'), status: 'completed', output: [n * 2, 'refused'] },
    ],
  }),
  defineCase<{ n: number }>({
    name: 'double',
    weight: 0,
    draw: (random) => ({ n: random.whole(0, 1_000) }),
    functions: (kit) => [
      kit.define<{ n: number }>('double', ({ input, work }) =>
        work('double', { forMs: 50, result: () => input.n * 2 }),
      ),
    ],
    expect: ({ n }, { functionId }) => [
      { functionId: functionId('double'), status: 'completed', output: n * 2 },
    ],
  }),
  defineCase<unknown>({
    name: 'refuse',
    weight: 0,
    draw: () => ({}),
    functions: (kit) => [
      kit.define('refuse', () => {
        throw new NonRetryableError('not for you');
      }),
    ],
    expect: (_, { functionId }) => [{ functionId: functionId('refuse'), status: 'failed' }],
  }),
  defineCase<{ count: number }>({
    name: 'send-events',
    weight: 2,
    sends: ({ count }) => count,
    draw: (random) => ({ count: random.whole(1, 4) }),
    functions: (kit) => [
      kit.define<{ count: number }>('send-events', async ({ input, run, step, work }) => {
        await work('write', { forMs: 30, result: () => 'written' });
        const events = Array.from({ length: input.count }, (_, index) => ({
          name: kit.event('heard'),
          data: { key: `${run.id} ${index}`, input: { index } },
        }));
        const { ids } = await step.sendEvent('tell', events);
        return ids.length;
      }),
    ],
    expect: ({ count }, { functionId }) => [
      { functionId: functionId('send-events'), status: 'completed', output: count },
    ],
  }),
  defineCase<{ index: number }>({
    name: 'heard',
    weight: 0,
    draw: (random) => ({ index: random.whole(0, 9) }),
    functions: (kit) => [
      kit.define<{ index: number }>('heard', ({ input, work }) =>
        work('hear', { forMs: 30, result: () => input.index }),
      ),
    ],
    expect: ({ index }, { functionId }) => [
      { functionId: functionId('heard'), status: 'completed', output: index },
    ],
  }),
];
