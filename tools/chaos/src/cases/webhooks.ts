/** Events that a provider delivers, some of them twice. */
import { defineCase } from '../case.js';
import type { AnyCase } from '../case.js';

export const webhookCases: AnyCase[] = [
  defineCase<{ n: number; isSentAgain: boolean }>({
    name: 'delivered',
    weight: 2,
    isDelivered: true,
    draw: (random) => ({ n: random.whole(0, 1_000), isSentAgain: random.chance(0.5) }),
    functions: (kit) => [
      kit.define<{ n: number }>('delivered', ({ input, work }) =>
        work('work', { forMs: 20, result: () => input.n }),
      ),
    ],
    actions: ({ isSentAgain }) => (isSentAgain ? [{ kind: 'again', afterMs: 500 }] : []),
    expect: ({ n }, { functionId }) => [
      { functionId: functionId('delivered'), status: 'completed', output: n },
    ],
  }),
];
