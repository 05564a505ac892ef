/**
 * Flow control as a function declares it: when its runs begin, and how many at a time. All of it is decided in one place, the
 * scheduler's decision pass, in the order in which the fields stand here (docs/flow-control.md).
 *
 * Keys are CEL over `event`; runs whose keys have different values do not know of one another.
 */
import { z } from 'zod';
import { expressionSchema } from './expression.js';
import { limits } from './limits.js';

const periodMsSchema = z.number().int().min(limits.flowPeriodMsMin).max(limits.flowPeriodMsMax);
const waitMsSchema = z.number().int().min(limits.debouncePeriodMsMin).max(limits.flowPeriodMsMax);

/** A rate: `limit` in each period, evenly spread, of which `burst` may come at once. */
export const rateSchema = z.strictObject({
  limit: z.number().int().min(1).max(limits.rateLimitMax),
  periodMs: periodMsSchema,
  burst: z.number().int().min(1).max(limits.rateLimitMax).default(1),
  key: expressionSchema.optional(),
});
export type Rate = z.infer<typeof rateSchema>;

export const debounceSchema = z.strictObject({
  /** So long after the last event its run begins. */
  periodMs: waitMsSchema,
  /** But no longer than this after the first. */
  timeoutMs: waitMsSchema.optional(),
  key: expressionSchema.optional(),
});
export type Debounce = z.infer<typeof debounceSchema>;

export const batchSchema = z.strictObject({
  maxSize: z.number().int().min(1).max(limits.batchSizeMax),
  /** The run begins so long after the first event, however few there are. */
  timeoutMs: waitMsSchema,
  key: expressionSchema.optional(),
});
export type Batch = z.infer<typeof batchSchema>;

/**
 * One live run for each key. What becomes of the next one: `skip` it, `cancel` the one under way and begin after it, or `queue` it
 * behind.
 */
export const singletonSchema = z.strictObject({
  mode: z.enum(['skip', 'cancel', 'queue']),
  key: expressionSchema.optional(),
});
export type Singleton = z.infer<typeof singletonSchema>;

/** So many activations at once; a run that waits is not one. `env`: counted with all functions of the environment that have the same key. */
export const concurrencySchema = z.strictObject({
  limit: z.number().int().min(1).max(limits.concurrencyMax),
  scope: z.enum(['function', 'env']).default('function'),
  key: expressionSchema.optional(),
});
export type Concurrency = z.infer<typeof concurrencySchema>;

/** CEL to keys that are nobody's own: what activations are counted under by limits that are set beside the code. */
export const limitKeys = {
  environment: '"quota of the environment"',
  function: '"limit of the function"',
} as const;

export const flowControlFields = {
  /** CEL to a key: of events with the same one, the first within 24 hours starts a run. */
  idempotency: expressionSchema.optional(),
  /** What is beyond is skipped. */
  rateLimit: rateSchema.optional(),
  debounce: debounceSchema.optional(),
  batch: batchSchema.optional(),
  singleton: singletonSchema.optional(),
  /** What is beyond waits its turn. */
  throttle: rateSchema.optional(),
  concurrency: z.array(concurrencySchema).min(1).max(limits.concurrencyRulesMax).optional(),
  /** CEL to seconds, −600 to 600: a run goes before those that came up to so much earlier. */
  priority: expressionSchema.optional(),
};
export type FlowControl = z.infer<z.ZodObject<typeof flowControlFields>>;

export function refuseContradictions(config: FlowControl, context: z.RefinementCtx): void {
  if (config.batch !== undefined && config.debounce !== undefined) {
    context.addIssue({ code: 'custom', path: ['batch'], message: 'cannot be combined with debounce' });
  }
  const { debounce } = config;
  if (debounce?.timeoutMs !== undefined && debounce.timeoutMs < debounce.periodMs) {
    context.addIssue({
      code: 'custom',
      path: ['debounce', 'timeoutMs'],
      message: 'must not be below periodMs',
    });
  }
  const seen = new Set<string>();
  for (const [index, { scope, key }] of (config.concurrency ?? []).entries()) {
    const identity = `${scope} ${key ?? ''}`;
    if (seen.has(identity)) {
      context.addIssue({
        code: 'custom',
        path: ['concurrency', index],
        message: 'has the scope and key of another',
      });
    }
    seen.add(identity);
  }
}

/** Why a run was skipped, or what it waits for. */
export const flowRules = [
  'idempotency',
  'rate_limit',
  'debounce',
  'batch',
  'singleton',
  'paused',
  'throttle',
  'concurrency',
  'worker',
] as const;
export const flowRuleSchema = z.enum(flowRules);
export type FlowRule = z.infer<typeof flowRuleSchema>;

/** A debounce that is under way, as SYS_debounce_state shows it. */
export const debounceStateSchema = z.object({
  functionId: z.string(),
  /** The run that begins unless another event comes. */
  runId: z.string(),
  /** Of the first event. */
  sinceMs: z.number(),
  dueAtMs: z.number(),
});
export type DebounceState = z.infer<typeof debounceStateSchema>;

/** What keys a run has, as its event gave them when it was routed. The hash of each names its state. */
export const flowKeysSchema = z.strictObject({
  idempotency: z.string().optional(),
  rateLimit: z.string().optional(),
  debounce: z.string().optional(),
  batch: z.string().optional(),
  singleton: z.string().optional(),
  /** Its singleton is that of its schedule, with this mode. */
  overlap: singletonSchema.shape.mode.optional(),
  throttle: z.string().optional(),
  concurrency: z.array(z.string()).optional(),
});
export type FlowKeys = z.infer<typeof flowKeysSchema>;
