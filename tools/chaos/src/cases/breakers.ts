/** Runs of an endpoint that an operator puts into trouble: a breaker keeps it from being called. It is an app of its own (app-fragile.ts). */
import { defineCase } from '../case.js';
import type { AnyCase } from '../case.js';

/** Its runs have no step, so that each activation is one call. */
export const fragileFunction = {
  id: 'fragile',
  event: 'chaos.*.fragile',
  failuresToOpen: 3,
  /** Long enough for a window to have calm in it when every executor has come to know of it. */
  openMs: 4_000,
} as const;

export type EndpointMode = 'works' | 'fails';

export const breakerCases: AnyCase[] = [
  defineCase<{ n: number }>({
    name: 'fragile',
    weight: 3,
    draw: (random) => ({ n: random.whole(0, 1_000) }),
    functions: () => [],
    expect: ({ n }) => [{ functionId: fragileFunction.id, status: 'completed', output: n }],
  }),
];
