/** Runs that end otherwise than by returning, and runs that are repeated. */
import { NonRetryableError } from '@ironflow/sdk';
import { defineCase } from '../case.js';
import type { AnyCase, Names } from '../case.js';
import type { Kit, Noted } from '../kit.js';

/** Long after anybody has asked it to stop, through every outage that is injected. */
const neverMs = 240_000;

/** What is cancelled: it works for some seconds, sleeps, and then waits for what never comes. */
async function goOnForLong({ step, work }: Noted<{ steps: number }>, steps: number): Promise<string> {
  for (let index = 0; index < steps; index += 1) {
    await work(`work ${index}`, { forMs: 300, result: () => index });
  }
  await step.sleep('rest', '3s');
  await step.waitForSignal('never', { timeout: neverMs });
  return 'not cancelled';
}

export const endingCases: AnyCase[] = [
  defineCase<{ n: number }>({
    name: 'fail',
    weight: 2,
    draw: (random) => ({ n: random.whole(0, 1_000) }),
    functions: (kit) => [
      kit.define(
        'fail',
        async ({ work }) => {
          await work('try', { forMs: 30, result: () => 'tried' });
          await work('charge', {
            forMs: 30,
            result: () => {
              throw new NonRetryableError('card declined');
            },
          });
        },
        { onFailure: ({ failedRun, step }) => step.run('apologise', () => failedRun.id) },
      ),
    ],
    expect: (_, { functionId }) => [{ functionId: functionId('fail'), status: 'failed' }],
  }),
  defineCase<unknown>({
    name: 'throw',
    weight: 1,
    draw: () => ({}),
    functions: (kit) => [
      kit.define(
        'throw',
        async ({ work }) => {
          await work('begin', { forMs: 30, result: () => 'begun' });
          throw new Error('outside of a step');
        },
        { retries: { attempts: 3, initialDelayMs: 200, maxDelayMs: 500 } },
      ),
    ],
    expect: (_, { functionId }) => [{ functionId: functionId('throw'), status: 'failed' }],
  }),
  defineCase<{ steps: number; afterMs: number }>({
    name: 'cancel',
    weight: 2,
    draw: (random) => ({ steps: random.whole(0, 10), afterMs: random.whole(0, 5_000) }),
    functions: (kit) => [
      kit.define<{ steps: number }>('cancel', (noted) => goOnForLong(noted, noted.input.steps)),
    ],
    actions: ({ afterMs }, { functionId }) => [{ kind: 'cancel', afterMs, functionId: functionId('cancel') }],
    expect: (_, { functionId }) => [{ functionId: functionId('cancel'), status: 'cancelled' }],
  }),
  defineCase<{ order: number; steps: number; afterMs: number }>({
    name: 'cancel-on',
    weight: 2,
    draw: (random) => ({
      order: random.whole(0, 1_000_000_000),
      steps: random.whole(0, 10),
      afterMs: random.whole(0, 5_000),
    }),
    functions: (kit) => [
      kit.define<{ steps: number }>('cancel-on', (noted) => goOnForLong(noted, noted.input.steps), {
        cancelOn: [{ event: kit.event('order-cancelled'), match: 'data.input.order' }],
      }),
    ],
    actions: ({ order, afterMs }) => [
      { kind: 'event', afterMs: 0, name: 'order-cancelled', input: { order: order + 1 } },
      { kind: 'event', afterMs, name: 'order-cancelled', input: { order } },
    ],
    expect: (_, { functionId }) => [{ functionId: functionId('cancel-on'), status: 'cancelled' }],
  }),
  defineCase<{ n: number; fromStep: string | null }>({
    name: 'rerun',
    weight: 1,
    draw: (random) => ({ n: random.whole(0, 1_000), fromStep: random.pick([null, 'second']) }),
    functions: (kit) => [
      kit.define<{ n: number }>('rerun', async ({ input, work }) => {
        const first = (await work('first', { forMs: 40, result: () => input.n + 1 })) as number;
        return work('second', { forMs: 40, result: () => first + 1 });
      }),
    ],
    actions: ({ fromStep }, { functionId }) => [
      {
        kind: 'rerun',
        afterMs: 500,
        functionId: functionId('rerun'),
        ...(fromStep === null ? {} : { fromStep }),
      },
    ],
    expect: ({ n }, { functionId }) => [
      { functionId: functionId('rerun'), status: 'completed', output: n + 2 },
    ],
  }),
  defineCase<{ n: number }>({
    name: 'again',
    weight: 1,
    draw: (random) => ({ n: random.whole(0, 1_000) }),
    functions: (kit) => [
      kit.define<{ n: number }>('again', ({ input, work }) =>
        work('once', { forMs: 40, result: () => input.n }),
      ),
    ],
    actions: () => [
      { kind: 'again', afterMs: 0 },
      { kind: 'again', afterMs: 3_000 },
    ],
    expect: ({ n }, { functionId }) => [{ functionId: functionId('again'), status: 'completed', output: n }],
  }),
];

/** One event that functions of both apps are triggered by, some of them under a condition. */
export const matchingCases: AnyCase[] = [
  defineCase<{ total: number }>({
    name: 'fan-out',
    weight: 1,
    draw: (random) => ({ total: random.whole(0, 100) }),
    functions: (kit) => [
      fanOut(kit, 'every-order'),
      fanOut(kit, 'large-order', 'event.data.input.total > 50'),
      fanOut(kit, 'unreadable-order', 'event.data.input.absent > 50'),
    ],
    expect: ({ total }) => ['push', 'pull'].flatMap((mode) => runsOfFanOut(total, mode)),
  }),
];

function fanOut(kit: Kit & Names, name: string, condition?: string) {
  return kit.define<{ total: number }>(
    name,
    ({ input, work }) => work('count', { forMs: 30, result: () => input.total }),
    { triggers: [{ event: 'chaos.*.fan-out', ...(condition === undefined ? {} : { if: condition }) }] },
  );
}

function runsOfFanOut(total: number, mode: string) {
  const completed = (name: string) => ({
    functionId: `${name}-${mode}`,
    status: 'completed' as const,
    output: total,
  });
  return [
    completed('every-order'),
    ...(total > 50 ? [completed('large-order')] : []),
    {
      functionId: `unreadable-order-${mode}`,
      status: 'skipped' as const,
      skipReason: 'condition_error',
    },
  ];
}
