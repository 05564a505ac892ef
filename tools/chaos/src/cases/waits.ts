/** Runs that wait: for a time, for events that come early, late or never, for signals, and for somebody's decision. */
import type { ApprovalRequest } from '@ironflow/sdk';
import { defineCase } from '../case.js';
import type { AnyCase, EventData } from '../case.js';

interface Paid {
  order: number;
  part: number;
}
interface Answered {
  order: number;
  total: number;
}

export const waitCases: AnyCase[] = [
  defineCase<{ sleepMs: number; untilMs: number }>({
    name: 'sleep',
    weight: 3,
    draw: (random) => ({ sleepMs: random.whole(50, 4_000), untilMs: random.whole(0, 3_000) }),
    functions: (kit) => [
      kit.define<{ sleepMs: number; untilMs: number }>('sleep', async ({ input, step, work, passing }) => {
        await passing('nap', { forMs: input.sleepMs }, () => step.sleep('nap', input.sleepMs));
        const nowMs = (await work('look at the clock', { forMs: 10, result: () => Date.now() })) as number;
        const untilMs = nowMs + input.untilMs;
        await passing('until', { untilMs }, () => step.sleepUntil('until', new Date(untilMs)));
        return work('wake', { forMs: 10, result: () => 'awake' });
      }),
    ],
    expect: (_, { functionId }) => [
      { functionId: functionId('sleep'), status: 'completed', output: 'awake' },
    ],
  }),
  defineCase<{ order: number; prepareMs: number; sentAfterMs: number[] }>({
    name: 'wait-for-events',
    weight: 3,
    draw: (random) => ({
      order: random.whole(0, 1_000_000_000),
      prepareMs: random.whole(20, 800),
      sentAfterMs: Array.from({ length: random.whole(1, 4) }, () => random.whole(0, 1_500)).sort(
        (a, b) => a - b,
      ),
    }),
    functions: (kit) => [
      kit.define<{ order: number; prepareMs: number; sentAfterMs: number[] }>(
        'wait-for-events',
        async ({ input, step, work }) => {
          await work('prepare', { forMs: input.prepareMs, result: () => 'ready' });
          const parts: number[] = [];
          for (let index = 0; index < input.sentAfterMs.length; index += 1) {
            const paid = await step.waitForEvent<EventData<Paid>>(`paid ${index}`, {
              event: kit.event('paid'),
              match: 'data.input.order',
              timeout: '10m',
            });
            parts.push(paid === null ? -1 : paid.data.input.part);
          }
          return parts.sort((a, b) => a - b);
        },
      ),
    ],
    actions: ({ order, sentAfterMs }) =>
      sentAfterMs.flatMap((afterMs, part) => [
        { kind: 'event', afterMs, name: 'paid', input: { order: order + 1, part: 99 } },
        { kind: 'event', afterMs, name: 'paid', input: { order, part } },
      ]),
    expect: ({ sentAfterMs }, { functionId }) => [
      {
        functionId: functionId('wait-for-events'),
        status: 'completed',
        output: sentAfterMs.map((_, part) => part),
      },
    ],
  }),
  defineCase<{ order: number; afterMs: number }>({
    name: 'wait-if',
    weight: 1,
    draw: (random) => ({ order: random.whole(0, 1_000_000_000), afterMs: random.whole(0, 1_000) }),
    functions: (kit) => [
      kit.define<{ order: number }>('wait-if', async ({ step }) => {
        const answered = await step.waitForEvent<EventData<Answered>>('answer', {
          event: kit.event('answered'),
          if: 'event.data.input.order == trigger.data.input.order && event.data.input.total > 100',
          timeout: '10m',
        });
        return answered?.data.input.total ?? null;
      }),
    ],
    actions: ({ order, afterMs }) => [
      { kind: 'event', afterMs, name: 'answered', input: { order, total: 50 } },
      { kind: 'event', afterMs, name: 'answered', input: { order, total: 150 } },
    ],
    expect: (_, { functionId }) => [{ functionId: functionId('wait-if'), status: 'completed', output: 150 }],
  }),
  defineCase<{ order: number; timeoutMs: number }>({
    name: 'wait-in-vain',
    weight: 2,
    draw: (random) => ({ order: random.whole(0, 1_000_000_000), timeoutMs: random.whole(200, 3_000) }),
    functions: (kit) => [
      kit.define<{ timeoutMs: number }>('wait-in-vain', async ({ input, step, work, passing }) => {
        const { timeoutMs } = input;
        const isNull = (result: unknown): boolean => result === null;
        const event = await passing(
          'never paid',
          { forMs: timeoutMs },
          () =>
            step.waitForEvent('never paid', {
              event: kit.event('paid'),
              match: 'data.input.order',
              timeout: timeoutMs,
            }),
          isNull,
        );
        const signal = await passing(
          'never told',
          { forMs: timeoutMs },
          () => step.waitForSignal('never told', { timeout: timeoutMs }),
          isNull,
        );
        return work('go on', { forMs: 10, result: () => [event, signal] });
      }),
    ],
    actions: ({ order }) => [
      { kind: 'event', afterMs: 100, name: 'paid', input: { order: order + 1, part: 99 } },
    ],
    expect: (_, { functionId }) => [
      { functionId: functionId('wait-in-vain'), status: 'completed', output: [null, null] },
    ],
  }),
  defineCase<{ sentAfterMs: number[] }>({
    name: 'signals',
    weight: 3,
    draw: (random) => ({
      sentAfterMs: Array.from({ length: random.whole(1, 4) }, () => random.whole(0, 1_500)).sort(
        (a, b) => a - b,
      ),
    }),
    functions: (kit) => [
      kit.define<{ sentAfterMs: number[] }>('signals', async ({ input, step, work }) => {
        await work('prepare', { forMs: 300, result: () => 'ready' });
        const taken: unknown[] = [];
        for (let index = 0; index < input.sentAfterMs.length; index += 1) {
          taken.push(await step.waitForSignal(`go ${index}`, { signal: 'go', timeout: '10m' }));
        }
        return taken;
      }),
    ],
    actions: ({ sentAfterMs }, { functionId }) =>
      sentAfterMs.map((afterMs, data) => ({
        kind: 'signal',
        afterMs,
        functionId: functionId('signals'),
        signal: 'go',
        data,
      })),
    expect: ({ sentAfterMs }, { functionId }) => [
      {
        functionId: functionId('signals'),
        status: 'completed',
        output: sentAfterMs.map((_, index) => index),
      },
    ],
  }),
  defineCase<{ asks: boolean; by: 'link' | 'key'; approved: boolean; afterMs: number }>({
    name: 'approve',
    weight: 2,
    draw: (random) => {
      const by = random.pick(['link', 'key'] as const);
      return {
        asks: by === 'link' || random.chance(0.5),
        by,
        approved: random.chance(0.5),
        afterMs: random.whole(0, 2_000),
      };
    },
    functions: (kit) => [
      kit.define<{ asks: boolean }>('approve', async ({ input, run, step, attempt, work }) => {
        const request = (context: ApprovalRequest): Promise<void> =>
          attempt('go ahead:request', context, {
            forMs: 20,
            result: () => kit.sendLink(run.id, context.url),
          });
        const decision = await step.approve('go ahead', {
          timeout: '10m',
          ...(input.asks ? { request } : {}),
        });
        return work('heed', { forMs: 20, result: () => [decision?.approved, decision?.comment] });
      }),
    ],
    actions: ({ by, approved, afterMs }, { functionId }) => {
      const decision = { kind: 'decide', functionId: functionId('approve'), approval: 'go ahead' } as const;
      return [
        { ...decision, afterMs, by, approved, comment: 'first' },
        { ...decision, afterMs, by: 'key', approved: !approved, comment: 'second', isLate: true },
      ];
    },
    expect: ({ approved }, { functionId }) => [
      { functionId: functionId('approve'), status: 'completed', output: [approved, 'first'] },
    ],
  }),
];
