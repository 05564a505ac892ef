/** Runs that publish: what they say is counted by a subscriber outside of the platform. */
import { defineCase } from '../case.js';
import type { AnyCase } from '../case.js';

export const topicCases: AnyCase[] = [
  defineCase<{ count: number }>({
    name: 'publish',
    weight: 2,
    publishes: ({ count }) => count,
    draw: (random) => ({ count: random.whole(1, 4) }),
    functions: (kit) => [
      kit.define<{ count: number }>('publish', async ({ input, run, step, work }) => {
        for (let index = 0; index < input.count; index += 1) {
          await work(`write ${index}`, { forMs: 30, result: () => 'written' });
          await step.publish(kit.event('told'), { key: `${run.id} ${index}` });
        }
        return input.count;
      }),
    ],
    expect: ({ count }, { functionId }) => [
      { functionId: functionId('publish'), status: 'completed', output: count },
    ],
  }),
];
