/** Runs that undo what they have done if they stop: `checks/sagas.ts` judges what was undone, and when. */
import { NonRetryableError } from '@ironflow/sdk';
import { defineCase } from '../case.js';
import type { AnyCase } from '../case.js';

/** A charge is undone at once, a booking at the second attempt, and a letter that was posted not at all. */
const effects = ['charge', 'book', 'post'] as const;

export interface Saga {
  effects: (typeof effects)[number][];
  /** Whether what undoes an effect is registered before the effect or after it. */
  registers: 'before' | 'after';
  ending: 'completed' | 'failed' | 'cancelled';
  afterMs: number;
}

export function cannotBeUndone(compensation: string): boolean {
  return compensation.startsWith('compensate(post ');
}

export const sagaCases: AnyCase[] = [
  defineCase<Saga>({
    name: 'saga',
    weight: 4,
    draw: (random) => ({
      effects: Array.from({ length: random.whole(1, 5) }, () => random.pick(effects)),
      registers: random.pick(['before', 'after']),
      ending: random.pick(['completed', 'failed', 'failed', 'cancelled', 'cancelled']),
      afterMs: random.whole(0, 3_000),
    }),
    functions: (kit) => [
      kit.define<Saga>('saga', async ({ input, step, work, attempt }) => {
        for (const [index, effect] of input.effects.entries()) {
          const name = `${effect} ${index}`;
          const register = () =>
            step.compensate(name, (context) =>
              attempt(`compensate(${name})`, context, {
                forMs: 30,
                result: (number) => {
                  if (effect === 'post') throw new NonRetryableError('it is gone');
                  if (effect === 'book' && number === 1) throw new Error('busy');
                },
              }),
            );
          if (input.registers === 'before') await register();
          await work(name, { forMs: 60, result: () => 'done' });
          if (input.registers === 'after') await register();
        }
        if (input.ending === 'failed') throw new NonRetryableError('no more');
        if (input.ending === 'completed') return 'done';
        // Long enough to be cancelled through every outage that is injected.
        await step.waitForSignal('never', { timeout: 240_000 });
        return 'not cancelled';
      }),
    ],
    actions: ({ ending, afterMs }, { functionId }) =>
      ending === 'cancelled' ? [{ kind: 'cancel', afterMs, functionId: functionId('saga') }] : [],
    expect: ({ ending }, { functionId }) => [{ functionId: functionId('saga'), status: ending }],
  }),
];
