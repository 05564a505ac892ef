/**
 * Runs that flow control lets go on, holds back, joins or skips. What becomes of one depends on the others of its group, so an event
 * has one of several dispositions; which of them fit together is for `checks/flow.ts`.
 */
import type { FunctionOptions } from '@ironflow/sdk';
import { defineCase } from '../case.js';
import type { AnyCase, EventData, ExpectedRun } from '../case.js';
import type { Noted } from '../kit.js';

/** Events of one group share the key of every rule. */
export interface Grouped {
  group: number;
  workMs: number;
}

type Rules = Partial<FunctionOptions<EventData<Grouped>>>;

const key = 'event.data.input.group';

export const atWorkMax = { ofGroup: 2, ofEnvironment: 3 };
export const debounceMs = 500;
export const rateMax = { limit: 2, periodMs: 4_000, burst: 2 };

/** Few groups: events of different clients meet in them. */
const fewGroups = 2;
const manyGroups = 1_000_000_000;

interface FlowCase {
  name: string;
  weight: number;
  groups: number;
  rules: Rules;
  /** When the client emits another event of the group. */
  againAfterMs?: readonly number[];
  /** What a run may become other than completed. */
  or?: ExpectedRun['or'];
  handler?: (noted: Noted<Grouped>) => unknown;
}

function flowCase({ name, weight, groups, rules, againAfterMs, or, handler = workTwice }: FlowCase): AnyCase {
  return defineCase<Grouped>({
    name,
    weight,
    draw: (random) => ({ group: random.whole(0, groups - 1), workMs: random.whole(20, 200) }),
    functions: (kit) => [kit.define<Grouped>(name, handler, rules)],
    actions: (input) => (againAfterMs ?? []).map((afterMs) => ({ kind: 'event', afterMs, name, input })),
    expect: (_, { functionId }) => [
      { functionId: functionId(name), status: 'completed', ...(or === undefined ? {} : { or }) },
    ],
  });
}

/** Others go first while it sleeps, unless its slot goes with it. */
async function workTwice({ input, step, work }: Noted<Grouped>): Promise<void> {
  await work('work', { forMs: input.workMs, result: () => null });
  await step.sleep('rest', 300);
  await work('work again', { forMs: input.workMs, result: () => null });
}

export const flowCases: AnyCase[] = [
  flowCase({
    name: 'concurrent',
    weight: 3,
    groups: fewGroups,
    rules: {
      concurrency: [
        { limit: atWorkMax.ofGroup, key },
        { limit: atWorkMax.ofEnvironment, scope: 'env' },
      ],
      priority: 'event.data.input.workMs',
    },
  }),
  flowCase({
    name: 'throttled',
    weight: 1,
    groups: fewGroups,
    rules: { throttle: { limit: 5, period: '1s', key } },
  }),
  flowCase({
    name: 'debounced',
    weight: 1,
    groups: manyGroups,
    rules: { debounce: { period: debounceMs, key } },
    againAfterMs: [100, 200, 1_000],
    or: [{ status: 'skipped', skipReason: 'debounce' }],
  }),
  flowCase({
    name: 'batched',
    weight: 2,
    groups: fewGroups,
    rules: { batch: { maxSize: 3, timeout: '2s', key } },
    againAfterMs: [50],
    or: [{ status: 'skipped', skipReason: 'batch' }],
    handler: ({ input, events, work }) =>
      work('work', { forMs: input.workMs, result: () => events.map(({ data }) => data.key) }),
  }),
  flowCase({
    name: 'single',
    weight: 1,
    groups: fewGroups,
    rules: { singleton: { mode: 'skip', key } },
    againAfterMs: [50],
    or: [{ status: 'skipped', skipReason: 'singleton' }],
  }),
  flowCase({
    name: 'latest',
    weight: 1,
    groups: fewGroups,
    rules: { singleton: { mode: 'cancel', key } },
    againAfterMs: [200],
    or: [{ status: 'cancelled' }, { status: 'skipped', skipReason: 'singleton' }],
  }),
  flowCase({
    name: 'in-turn',
    weight: 1,
    groups: fewGroups,
    rules: { singleton: { mode: 'queue', key } },
    againAfterMs: [50],
  }),
  flowCase({
    name: 'limited',
    weight: 1,
    groups: fewGroups,
    rules: {
      rateLimit: { limit: rateMax.limit, period: rateMax.periodMs, burst: rateMax.burst, key },
    },
    againAfterMs: [0, 100, 2_000],
    or: [{ status: 'skipped', skipReason: 'rate_limit' }],
  }),
  flowCase({
    name: 'once',
    weight: 1,
    groups: manyGroups,
    rules: { idempotency: key },
    againAfterMs: [0, 500],
    or: [{ status: 'skipped', skipReason: 'idempotency' }],
  }),
  defineCase<{ laterMs: number }>({
    name: 'scheduled',
    weight: 1,
    draw: (random) => ({ laterMs: random.whole(500, 5_000) }),
    laterMs: ({ laterMs }) => laterMs,
    functions: (kit) => [
      kit.define('scheduled', ({ work }) => work('work', { forMs: 20, result: () => 'there' })),
    ],
    expect: (_, { functionId }) => [
      { functionId: functionId('scheduled'), status: 'completed', output: 'there' },
    ],
  }),
];
