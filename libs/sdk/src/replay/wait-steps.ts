/** Steps that wait for something other than a time: what the handler asked for, checked, as the step that is recorded. */
import {
  approvalSignal,
  eventNameSchema,
  functionIdSchema,
  isReservedSignal,
  limits,
  matchValueAt,
} from '@ironflow/schema';
import type { Awaited, Invocation } from '@ironflow/schema';
import type { RetryPolicy } from '@ironflow/retry-policy';
import { ConfigurationError } from '../configuration-error.js';
import { parseDuration } from '../duration.js';
import type { Duration } from '../duration.js';
import type { InvokeStepOptions, WaitForEventOptions, WaitForSignalOptions } from '../step-tools.js';
import type { InvokeStep, PendingStep, RunStep } from './attempt.js';
import { keyOf, unlessRefused } from './platform-calls.js';
import type { PlatformCalls } from './platform-calls.js';

const defaultTimeout: Duration = '7d';

export interface WaitSteps {
  event(name: string, options: WaitForEventOptions): PendingStep;
  signal(name: string, options: WaitForSignalOptions): PendingStep;
  approval(name: string, options: { approval: string; timeout: Duration | undefined }): PendingStep;
  invoke(name: string, options: InvokeStepOptions): InvokeStep;
  invokeAsync(name: string, options: Omit<InvokeStepOptions, 'timeout'>): RunStep;
}

export interface WaitStepsOptions {
  platform: PlatformCalls;
  invocation: Invocation;
  /** Of the event that started the run. */
  data: unknown;
  policy: RetryPolicy;
  stepTimeoutMs: number | undefined;
  now: () => number;
}

export function createWaitSteps(options: WaitStepsOptions): WaitSteps {
  const { invocation, policy, stepTimeoutMs: timeoutMs, now } = options;
  const pending = (
    step: { type: 'wait_for_event' | 'wait_for_signal'; name: string; awaited: Awaited },
    timeout: Duration | undefined,
  ): PendingStep => {
    const { type, name, awaited } = step;
    const due = { inMs: parseDuration(timeout ?? defaultTimeout) };
    const record: PendingStep['record'] = (id) => {
      return { id, name, type, attempt: 1, startedAtMs: now(), status: 'waiting', awaited, due };
    };
    return { type, name, record };
  };
  const start = async (
    { functionId, data }: Target,
    stepId: string,
    signal: AbortSignal,
  ): Promise<string> => {
    const { run, event: cause, traceparent } = invocation;
    const { ids } = await unlessRefused(() =>
      options.platform.invoke(functionId, data, {
        signal,
        idempotencyKey: keyOf(run.id, stepId),
        correlationId: cause.correlationId,
        causationId: cause.id,
        ...(traceparent === undefined ? {} : { traceparent }),
      }),
    );
    return ids[0]!;
  };
  return {
    event: (name, given) => {
      const awaited = {
        kind: 'event' as const,
        ...eventOf(name, given),
        ...matchOf(name, given, options.data),
      };
      return pending({ type: 'wait_for_event', name, awaited }, given.timeout);
    },
    signal: (name, { signal = name, timeout }) => {
      if (!isText(signal, limits.stepNameBytesMax)) {
        refuse(name, 'signal', `must be a text of at most ${limits.stepNameBytesMax} bytes`);
      }
      if (isReservedSignal(signal)) refuse(name, 'signal', 'must not begin with "ironflow."');
      return pending({ type: 'wait_for_signal', name, awaited: { kind: 'signal', signal } }, timeout);
    },
    approval: (name, { approval, timeout }) => {
      const awaited = { kind: 'signal' as const, signal: approvalSignal(approval) };
      return { ...pending({ type: 'wait_for_signal', name, awaited }, timeout), id: approval };
    },
    invoke: (name, given) => {
      const target = targetOf(name, given);
      const due = given.timeout === undefined ? {} : { due: { inMs: parseDuration(given.timeout) } };
      const work: InvokeStep['work'] = async ({ signal }, stepId) => {
        const eventId = await start(target, stepId, signal);
        return { awaited: { kind: 'run', eventId, functionId: target.functionId }, ...due };
      };
      return { type: 'invoke', name, work, policy, timeoutMs };
    },
    invokeAsync: (name, given) => {
      const target = targetOf(name, given);
      const work: RunStep['work'] = async ({ signal }, stepId) => ({
        eventId: await start(target, stepId, signal),
      });
      return { type: 'run', name, work, policy, timeoutMs };
    },
  };
}

interface Target {
  functionId: string;
  data: unknown;
}

function targetOf(name: string, given: Omit<InvokeStepOptions, 'timeout'> | undefined): Target {
  const target = given?.function;
  const parsed = functionIdSchema.safeParse(typeof target === 'object' ? target.id : target);
  if (!parsed.success) refuse(name, 'function', 'must be a function or its id');
  return { functionId: parsed.data, data: given?.data };
}

function eventOf(
  name: string,
  given: WaitForEventOptions | undefined,
): { event: string; condition?: string } {
  const parsed = eventNameSchema.safeParse(given?.event);
  if (!parsed.success) refuse(name, 'event', 'must be the name of an event, without wildcards');
  if (given!.if === undefined) return { event: parsed.data };
  if (!isText(given!.if, limits.expressionBytesMax)) {
    refuse(name, 'if', `must be a CEL expression of at most ${limits.expressionBytesMax} bytes`);
  }
  return { event: parsed.data, condition: given!.if };
}

/** What the trigger's data has at the path: an event without it could match nothing. */
function matchOf(name: string, { match: path }: WaitForEventOptions, data: unknown) {
  if (path === undefined) return {};
  if (!isText(path, limits.matchPathBytesMax) || !path.startsWith(dataPrefix)) {
    refuse(name, 'match', 'must be a path within the event such as "data.orderId"');
  }
  const inData = path.slice(dataPrefix.length);
  const value = matchValueAt(data, inData);
  if (value === undefined || (typeof value === 'number' && !Number.isFinite(value))) {
    refuse(name, 'match', `the event has no text, number or boolean at ${path}`);
  }
  if (typeof value === 'string' && value !== '' && !isText(value, limits.matchValueBytesMax)) {
    refuse(
      name,
      'match',
      `the event's ${path} must be at most ${limits.matchValueBytesMax} bytes without NUL`,
    );
  }
  return { match: { path: inData, value } };
}

const dataPrefix = 'data.';

/** What Postgres' text can hold. */
function isText(value: unknown, bytesMax: number): value is string {
  return (
    typeof value === 'string' &&
    value !== '' &&
    Buffer.byteLength(value) <= bytesMax &&
    !/\0|\p{Surrogate}/u.test(value)
  );
}

function refuse(name: string, field: string, rule: string): never {
  throw new ConfigurationError(`step "${name}": ${field}: ${rule}`, field);
}
