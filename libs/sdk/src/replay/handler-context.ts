/** Makes the one object that a handler gets: its event, checked against the schema, and its `step`. */
import { messageOf } from '@ironflow/errors';
import { describeIssue, retryPolicySchema } from '@ironflow/schema';
import type { DeliveredEvent, Invocation, PublishAnswer, StepRecord } from '@ironflow/schema';
import type { EventToEmit } from '../event-to-emit.js';
import type { RetryPolicy } from '@ironflow/retry-policy';
import { parseDuration, readStepTimeout } from '../duration.js';
import { ConfigurationError } from '../configuration-error.js';
import { NonRetryableError } from '../function-errors.js';
import type { EventSchema, HandlerContext, IronflowFunction, Retries, TypedEvent } from '../function.js';
import type { Logger } from '../logger.js';
import type { Jsonified } from '../output.js';
import type {
  InvokeStepOptions,
  PublishOptions,
  SentEvents,
  StepContext,
  StepOptions,
  WaitForEventOptions,
  WaitForSignalOptions,
} from '../step-tools.js';
import { createApprove } from './approvals.js';
import type { PendingStep, RunStep, StepWork } from './attempt.js';
import { compensationName } from './compensations.js';
import { withSignal } from './lazy-abort.js';
import type { LazyAbort } from './lazy-abort.js';
import { withParallel } from './parallel-tools.js';
import type { SingleTools } from './parallel-tools.js';
import { createSendEvents } from './send-events.js';
import type { PlatformCalls } from './platform-calls.js';
import { publishOnce } from './publish.js';
import type { SendEvents } from './send-events.js';
import { checkCompensationName, checkName, checkPatchId } from './step-name.js';
import { createWaitSteps } from './wait-steps.js';
import type { WaitSteps } from './wait-steps.js';

interface ContextOptions {
  definition: IronflowFunction;
  invocation: Invocation;
  abort: LazyAbort;
  now: () => number;
  logger: Logger;
  platform: PlatformCalls;
  call: (step: StepWork) => Promise<unknown>;
  reserve: (name: string) => string;
  patched: (id: string) => Promise<boolean>;
  compensate: (step: RunStep) => Promise<void>;
  /** How many steps the run may still have. */
  stepsLeft: () => number;
}

/** Rejects with a NonRetryableError when the event does not fit the function's schema. */
export async function createHandlerContext(options: ContextOptions): Promise<HandlerContext<unknown>> {
  const { definition, invocation, abort, logger } = options;
  const event = await readEvent(invocation.event, definition.schema);
  const events = [event];
  for (const [index, later] of (invocation.laterEvents ?? []).entries()) {
    events.push(await readEvent(later, definition.schema, `events[${index + 1}].data`));
  }
  const single = createSingleTools({
    ...options,
    policy: definition.config.retries,
    stepTimeoutMs: definition.config.stepTimeoutMs,
    sendEvents: createSendEvents(options.platform, invocation),
    waits: onFirstUse(() =>
      createWaitSteps({
        ...options,
        data: event.data,
        policy: definition.config.retries,
        stepTimeoutMs: definition.config.stepTimeoutMs,
      }),
    ),
  });
  const context = {
    event,
    events,
    step: withParallel(single, options),
    run: {
      id: invocation.run.id,
      functionId: invocation.run.functionId,
      attempt: invocation.run.attempt,
      traceparent: invocation.traceparent,
    },
    logger,
    secrets: options.platform.secrets,
    config: options.platform.config,
  };
  return withSignal(context, abort);
}

/** Most runs never wait for anything. */
function onFirstUse<T>(create: () => T): () => T {
  let made: T | undefined;
  return () => (made ??= create());
}

function createSingleTools(options: {
  call: (step: StepWork) => Promise<unknown>;
  reserve: (name: string) => string;
  patched: (id: string) => Promise<boolean>;
  compensate: (step: RunStep) => Promise<void>;
  policy: RetryPolicy;
  stepTimeoutMs: number | undefined;
  sendEvents: SendEvents;
  platform: PlatformCalls;
  invocation: Invocation;
  waits: () => WaitSteps;
  now: () => number;
}): SingleTools {
  const { call, patched, compensate, sendEvents, platform, invocation, waits, policy, stepTimeoutMs, now } =
    options;
  const approve = onFirstUse(() => createApprove({ ...options, runId: invocation.run.id }));
  const named = (name: string, step: () => StepWork) =>
    attempted(() => {
      checkName(name);
      return call(step());
    });
  const attempts = (name: string, work: (context: StepContext) => unknown, own: StepOptions | undefined) => {
    if (typeof work !== 'function') {
      throw new ConfigurationError(`step "${name}": its second argument must be a function`);
    }
    return {
      name,
      work: (context: StepContext) => work(context),
      policy: policyOf(name, own?.retries, policy),
      timeoutMs:
        own?.timeout === undefined ? stepTimeoutMs : readStepTimeout(own.timeout, `step "${name}": timeout`),
    };
  };
  return {
    run: <T>(name: string, work: (context: StepContext) => T | Promise<T>, own?: StepOptions) =>
      attempted(() => {
        checkName(name);
        return call({ type: 'run', ...attempts(name, work, own) });
      }) as Promise<Jsonified<T>>,
    compensate: (name, undo, own) =>
      attempted(() => {
        checkCompensationName(name);
        return compensate({ type: 'compensate', ...attempts(compensationName(name), undo, own) });
      }) as Promise<void>,
    sendEvent: (name, events) =>
      attempted(() => {
        checkName(name);
        const list = isList(events) ? events : [events];
        const work = ({ signal }: StepContext, stepId: string) => sendEvents(list, stepId, signal);
        return call({ type: 'run', name, work, policy, timeoutMs: stepTimeoutMs });
      }) as Promise<SentEvents>,
    publish: (topic: string, data?: unknown, { name = topic }: PublishOptions = {}) =>
      attempted(() => {
        checkName(name);
        const { id: runId } = invocation.run;
        const work = ({ signal }: StepContext, stepId: string) =>
          publishOnce(platform, { topic, data }, { runId, stepId, signal });
        return call({ type: 'run', name, work, policy, timeoutMs: stepTimeoutMs });
      }) as Promise<PublishAnswer>,
    waitForEvent: <Data>(name: string, given: WaitForEventOptions) =>
      named(name, () => waits().event(name, given)) as Promise<TypedEvent<Data> | null>,
    waitForSignal: <Data>(name: string, given: WaitForSignalOptions = {}) =>
      named(name, () => waits().signal(name, given)) as Promise<Data | null>,
    approve: (name, given) => attempted(() => approve()(name, given)) as ReturnType<SingleTools['approve']>,
    invoke: <Output>(name: string, given: InvokeStepOptions) =>
      named(name, () => waits().invoke(name, given)) as Promise<Jsonified<Output>>,
    invokeAsync: (name, given) =>
      named(name, () => waits().invokeAsync(name, given)) as Promise<{ eventId: string }>,
    sleep: (name, duration) =>
      attempted(() => {
        checkName(name);
        const inMs = parseDuration(duration);
        return call(sleepStep({ name, passed: inMs === 0, due: { inMs }, now }));
      }) as Promise<void>,
    sleepUntil: (name, time) =>
      attempted(() => {
        checkName(name);
        const atMs = time instanceof Date ? time.getTime() : Number.NaN;
        if (Number.isNaN(atMs)) throw new ConfigurationError(`step "${name}": sleepUntil takes a valid Date`);
        return call(sleepStep({ name, passed: atMs <= now(), due: { atMs: Math.max(0, atMs) }, now }));
      }) as Promise<void>,
    patched: (id) =>
      attempted(() => {
        checkPatchId(id);
        return patched(id);
      }) as Promise<boolean>,
  };
}

function isList(events: EventToEmit | readonly EventToEmit[]): events is readonly EventToEmit[] {
  return Array.isArray(events);
}

/** The promise of the step itself, so that one that nobody awaits can fail without ending the process. */
function attempted(begin: () => Promise<unknown>): Promise<unknown> {
  try {
    return begin();
  } catch (thrown) {
    const refused = Promise.reject(thrown instanceof Error ? thrown : new Error(messageOf(thrown)));
    refused.catch(() => {});
    return refused;
  }
}

function sleepStep(of: {
  name: string;
  passed: boolean;
  due: Extract<StepRecord, { type: 'sleep'; status: 'waiting' }>['due'];
  now: () => number;
}): PendingStep {
  return {
    type: 'sleep',
    name: of.name,
    record(id, takePlace) {
      const startedAtMs = of.now();
      const base = { id, name: of.name, type: 'sleep' as const, attempt: 1, startedAtMs };
      return of.passed
        ? { ...base, status: 'completed', endedAtMs: startedAtMs, order: takePlace() }
        : { ...base, status: 'waiting', due: of.due };
    },
  };
}

function policyOf(name: string, retries: Retries | undefined, inherited: RetryPolicy): RetryPolicy {
  if (retries === undefined) return inherited;
  const own = typeof retries === 'number' ? { attempts: retries } : retries;
  const parsed = retryPolicySchema.safeParse({ ...inherited, ...own });
  if (parsed.success) return parsed.data;
  const { field, message } = describeIssue(parsed.error.issues[0]!);
  throw new ConfigurationError(`step "${name}": retries.${field}: ${message}`, `retries.${field}`);
}

async function readEvent(
  delivered: DeliveredEvent,
  schema: EventSchema<unknown> | undefined,
  place = 'data',
): Promise<TypedEvent<unknown>> {
  const data: unknown = delivered.data === '' ? undefined : JSON.parse(delivered.data);
  return {
    id: delivered.id,
    name: delivered.name,
    data: schema === undefined ? data : await fit(data, schema, place),
    ...(delivered.version === undefined ? {} : { version: delivered.version }),
    receivedAt: new Date(delivered.receivedAtMs).toISOString(),
    correlationId: delivered.correlationId,
  };
}

async function fit(data: unknown, schema: EventSchema<unknown>, place: string): Promise<unknown> {
  const parsed = await schema.safeParseAsync(data);
  if (parsed.success) return parsed.data;
  // Paths and rules only: a schema's own messages may quote what was sent.
  const broken = parsed.error.issues
    .slice(0, 5)
    .map(
      ({ path, code }) =>
        `${[place, ...path.map(String)].join('.')}${code === undefined ? '' : ` (${code})`}`,
    );
  const error = new NonRetryableError(`the event does not fit the function's schema: ${broken.join(', ')}`);
  error.name = 'EventSchemaError';
  throw error;
}
