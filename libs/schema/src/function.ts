/** What an app registers: its functions, their triggers and their retry policy. A bad one is refused naming the field. */
import { z } from 'zod';
import { defaultRetryPolicy } from '@ironflow/retry-policy';
import { circuitOverridesSchema } from './circuit-breaker.js';
import { systemEventNames } from './event.js';
import { expressionSchema } from './expression.js';
import { flowControlFields, refuseContradictions } from './flow-control.js';
import {
  appIdSchema,
  eventNameSchema,
  eventPatternSchema,
  functionIdSchema,
  reservedEventPrefix,
} from './identifiers.js';
import { limits } from './limits.js';
import { cronTriggerSchema, scheduleIdOf } from './schedule.js';
import type { CronTrigger } from './schedule.js';

export const eventTriggerSchema = z.strictObject({
  event: eventPatternSchema.refine(
    (pattern) => !pattern.startsWith(reservedEventPrefix) || pattern === systemEventNames.functionFailed,
    `must not begin with "${reservedEventPrefix}", which is reserved for the platform, except for ` +
      systemEventNames.functionFailed,
  ),
  /** CEL over `event`; the run starts only if it is true. */
  if: expressionSchema.optional(),
});
export const triggerSchema = z.union([eventTriggerSchema, cronTriggerSchema], {
  error: 'must be { event, if? } or { cron, timezone? }',
});
export type EventTrigger = z.infer<typeof eventTriggerSchema>;
export type Trigger = z.infer<typeof triggerSchema>;

export function isCronTrigger(trigger: Trigger): trigger is CronTrigger {
  return 'cron' in trigger;
}

/** One that is repeated word for word is one schedule; one of the same times that differs would be a second firing of each. */
function refuseRepeatedSchedules(triggers: readonly Trigger[], context: z.RefinementCtx): void {
  const byTimes = new Map<string, CronTrigger>();
  const byId = new Map<string, CronTrigger>();
  const refuse = (index: number, field: string, message: string): void => {
    context.addIssue({ code: 'custom', path: [index, field], message });
  };
  for (const [index, trigger] of triggers.entries()) {
    if (!isCronTrigger(trigger)) continue;
    const times = `${trigger.cron}\n${trigger.timezone}`;
    const id = scheduleIdOf('', trigger);
    const same = byTimes.get(times);
    if (same !== undefined && !isSameTrigger(same, trigger)) {
      refuse(
        index,
        'cron',
        'has the cron and timezone of another trigger: one schedule has one set of options',
      );
    } else if (same === undefined && byId.has(id)) refuse(index, 'id', 'is the id of another trigger');
    byTimes.set(times, trigger);
    byId.set(id, trigger);
  }
}

function isSameTrigger(one: CronTrigger, other: CronTrigger): boolean {
  return (['id', 'jitterMs', 'overlap', 'catchUpMs'] as const).every((field) => one[field] === other[field]);
}

export const retryPolicySchema = z.strictObject({
  attempts: z.number().int().min(1).max(100).default(defaultRetryPolicy.attempts),
  initialDelayMs: z.number().int().min(0).max(86_400_000).default(defaultRetryPolicy.initialDelayMs),
  factor: z.number().min(1).max(100).default(defaultRetryPolicy.factor),
  maxDelayMs: z.number().int().min(0).max(86_400_000).default(defaultRetryPolicy.maxDelayMs),
});

export const stepTimeoutMsSchema = z.number().int().min(1).max(limits.stepTimeoutMsMax);
export const functionTimeoutMsSchema = z.number().int().min(1).max(limits.functionTimeoutMsMax);
export const functionTimeoutMsDefault = 600_000;
export const startDeadlineMsSchema = z.number().int().min(1).max(limits.startDeadlineMsMax);

/** What cancels runs of the function: an event that comes while they are under way. */
export const cancelOnSchema = z.strictObject({
  event: eventNameSchema,
  /** A path such as `data.orderId` whose value the event and the one that started the run share. */
  match: z
    .string()
    .startsWith('data.', 'must be a path within the event such as "data.orderId"')
    .refine(
      (path) => path.length > 'data.'.length && Buffer.byteLength(path) <= limits.matchPathBytesMax,
      `must be a path of at most ${limits.matchPathBytesMax} bytes`,
    )
    .optional(),
  /** CEL over `event`, the one that came, and `trigger`, the one that started the run. */
  if: expressionSchema.optional(),
});
export type CancelOn = z.infer<typeof cancelOnSchema>;

export const functionFieldsSchema = z.strictObject({
  id: functionIdSchema,
  name: z.string().min(1).max(256).optional(),
  triggers: z.array(triggerSchema).max(limits.triggersPerFunctionMax).superRefine(refuseRepeatedSchedules),
  retries: retryPolicySchema.default(defaultRetryPolicy),
  /** What an attempt of a step may take, unless the step says otherwise; none without. */
  stepTimeoutMs: stepTimeoutMsSchema.optional(),
  /** What all activations of a run may take together, its waiting not counted; 10 minutes without. */
  timeoutMs: functionTimeoutMsSchema.optional(),
  /** A run that has not begun so long after it was created is skipped; it may take as long as it likes without. */
  startDeadlineMs: startDeadlineMsSchema.optional(),
  cancelOn: z.array(cancelOnSchema).max(limits.cancelOnPerFunctionMax).optional(),
  ...flowControlFields,
  /** Where its breakers differ from the platform's. */
  circuitBreaker: circuitOverridesSchema.optional(),
});
export const functionConfigSchema = functionFieldsSchema.superRefine(refuseContradictions);
/** With every default filled in. */
export type FunctionConfig = z.infer<typeof functionConfigSchema>;

/** Where a push app is called. It is part of keys, whose bytes are limited, and of text that knows no control characters. */
export const appUrlSchema = z
  .url({ protocol: /^https?$/ })
  .max(2_048)
  .refine(
    (url) => Buffer.byteLength(url) <= 2_048 && !/\p{Cc}/u.test(url),
    'must have at most 2048 bytes and no control characters',
  );

export const appManifestSchema = z
  .strictObject({
    id: appIdSchema,
    mode: z.enum(['push', 'pull']),
    url: appUrlSchema.optional(),
    /** `<language>/<version>` of the SDK. */
    sdk: z.string().max(64).optional(),
    /** Of a push app: answers that are not signed are refused. */
    signedAnswers: z.boolean().optional(),
    functions: z.array(functionConfigSchema).max(limits.functionsPerAppMax),
  })
  .superRefine((app, context) => {
    if ((app.mode === 'push') !== (app.url !== undefined)) {
      const message = app.mode === 'push' ? 'a push app needs its url' : 'a pull app has no url';
      context.addIssue({ code: 'custom', path: ['url'], message });
    }
    if (app.mode === 'pull' && app.signedAnswers !== undefined) {
      context.addIssue({ code: 'custom', path: ['signedAnswers'], message: 'is only for a push app' });
    }
    const seen = new Set<string>();
    for (const [index, { id }] of app.functions.entries()) {
      if (seen.has(id)) {
        context.addIssue({
          code: 'custom',
          path: ['functions', index, 'id'],
          message: `"${id}" is registered twice`,
        });
      }
      seen.add(id);
    }
  });
export type AppManifest = z.infer<typeof appManifestSchema>;

/** A function as services see it. */
export interface RegisteredFunction {
  appId: string;
  config: FunctionConfig;
  /** Of its configuration; every run records the one it started with. */
  hash: string;
  /** Schedules fire no time before this. */
  registeredAtMs: number;
}

export interface RegisteredApp {
  id: string;
  mode: 'push' | 'pull';
  url: string | undefined;
  /** Answers that are not signed are refused. */
  signedAnswers: boolean;
}

/** One that its app no longer has. */
export type ArchivedFunction = Pick<RegisteredFunction, 'appId' | 'hash'>;

/** The registry of one environment at one version. */
export interface Registry {
  environmentId: string;
  version: number;
  apps: ReadonlyMap<string, RegisteredApp>;
  functions: ReadonlyMap<string, RegisteredFunction>;
  /** Within the last day; none of them starts a run, and what was for one of them alone is told so. */
  archived: ReadonlyMap<string, ArchivedFunction>;
  /** New runs of all functions, or of these, queue until they go on. */
  paused: boolean;
  pausedFunctions: ReadonlySet<string>;
}
