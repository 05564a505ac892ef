/** `createFunction` and the one object that a handler gets. Public: later versions only add. */
import { describeIssue, functionConfigSchema, functionIdSchema, systemEventNames } from '@ironflow/schema';
import type {
  CancelOn,
  Failure,
  FunctionConfig,
  FunctionEvent,
  NotCompensated,
  Overlap,
} from '@ironflow/schema';
import type { RetryPolicy } from '@ironflow/retry-policy';
import { ConfigurationError } from './configuration-error.js';
import {
  readBreakerOpening,
  readBreakerWindow,
  readCatchUp,
  readFunctionTimeout,
  readJitter,
  readStartDeadline,
  readStepTimeout,
} from './duration.js';
import type { Duration } from './duration.js';
import { readFlowControl } from './flow-control.js';
import type { FlowControlOptions } from './flow-control.js';
import type { Logger } from './logger.js';
import type { HandlerConfig, HandlerSecrets } from './settings.js';
import type { StepTools } from './step-tools.js';

/** The event as a function sees it; with a `schema`, `data` has its type. */
export type TypedEvent<Data> = Omit<FunctionEvent, 'data'> & { data: Data };

/** Attempts in all (the first included), or a policy of which the rest keeps its defaults: 3, 1 s, ×2, at most 5 min. */
export type Retries = number | Partial<RetryPolicy>;

/** Any schema that parses like Zod's; not bound to one version of Zod. What it takes may differ from what it makes of it. */
export interface EventSchema<Output, Input = Output> {
  safeParseAsync(
    data: unknown,
  ): Promise<{ success: true; data: Output } | { success: false; error: { issues: readonly SchemaIssue[] } }>;
  /** Only a type, as Zod declares it. */
  readonly _input?: Input;
}
interface SchemaIssue {
  code?: string | undefined;
  path: readonly PropertyKey[];
}

export type TriggerOptions = { event: string; if?: string } | CronTriggerOptions;

export interface CronTriggerOptions {
  /** 5 fields, 6 with seconds first, or an interval from 1970 on: `@every 90s`, `@every 1h30m`. */
  cron: string;
  /** IANA name; UTC by default. */
  timezone?: string;
  /** Names the schedule within its function, so that it stays the same when its times change. By default a hash of its times. */
  id?: string;
  /** Each time is put off by less than this, always by as much; at most an hour, and no more than from one time to the next. */
  jitter?: Duration;
  /** What becomes of a time while a run of an earlier one is under way. Default: `allow`. */
  overlap?: Overlap;
  /**
   * Times that could not be fired (the platform was down) are made up for within this, the latest 100 of them; from 10 s to 30 days,
   * an hour by default.
   */
  catchUp?: Duration;
}

export interface FunctionOptions<Data, Input = Data> extends FlowControlOptions {
  /** Unique in the environment: 1 to 128 of A-Z, a-z, 0-9, "_" and "-". */
  id: string;
  name?: string;
  /** Events by name (`*` is one token, a last `>` the rest) with a CEL condition over `event`, and schedules. */
  triggers: readonly TriggerOptions[];
  /** For the function itself and, unless they say otherwise, for its steps. */
  retries?: Retries;
  /**
   * What a run may be at work, all its activations together; at most a week, and 10 minutes without it. Its waiting does not
   * count, nor does undoing what it had done: a run whose time is up fails with `FunctionTimeout`.
   */
  timeout?: Duration;
  /**
   * A run that has not begun so long after it was created is skipped, and its handler never called; at most a year. Without it
   * a run waits for an executor, a worker or a breaker for as long as it takes.
   */
  startDeadline?: Duration;
  /**
   * What an attempt of a step may take, unless the step says otherwise; at most a day. Its `signal` fires then, and the
   * attempt has failed. Without it nothing bounds a step.
   */
  stepTimeout?: Duration;
  /** Every event that starts the function has to fit, scheduled ones included; one that does not fails the run for good. */
  schema?: EventSchema<Data, Input>;
  /**
   * Events that cancel runs under way: of that name, which share the value at `match` with the event that started the run, and
   * for which `if` (CEL over `event` and `trigger`) holds. Those that come after the run's own count. At most 5.
   */
  cancelOn?: readonly CancelOn[];
  /**
   * Where the function's circuit breakers differ from the platform's (5 failures in a row, or half of at least 20 calls within
   * 30 s, open one for a minute). For a push app it is about its endpoint, for a pull app about its workers being lost.
   */
  circuitBreaker?: CircuitBreakerOptions;
  /**
   * Called once a run of this function has failed for good: a function of its own, `<id>-on-failure`, with steps, retries and
   * runs of its own. One that fails in turn is not told of.
   */
  onFailure?: (context: FailureContext) => unknown;
}

export interface CircuitBreakerOptions {
  /** False: calls are not counted, and only an operator keeps them from the function. */
  enabled?: boolean;
  /** So many failed calls in a row open it: 1 to 10,000. */
  consecutiveFailures?: number;
  /** This share of failures opens it too: above 0, at most 1 … */
  failureRatio?: number;
  /** … of so many calls at least: 1 to 1,000,000 … */
  minimumCalls?: number;
  /** … within a window of so long: a second to an hour. */
  window?: Duration;
  /** How long it then keeps runs waiting, before one call is let through to see: 100 ms to a day. */
  openFor?: Duration;
  /** So many such calls have to succeed, one after the other: 1 to 100. */
  successesToClose?: number;
}

/** What `onFailure` is given: as a handler, but of the failed run's event, and with what it failed with. */
export interface FailureContext extends Omit<HandlerContext<unknown>, 'events' | 'event'> {
  readonly error: Failure;
  readonly failedRun: { readonly id: string; readonly functionId: string };
  /** What the failed run had registered with `step.compensate` and could not undo. */
  readonly notCompensated: readonly NotCompensated[];
  /** The event that started the failed run; its data is `null` if it is larger than 256 KiB. Not checked by the schema. */
  readonly event: {
    readonly id: string;
    readonly name: string;
    readonly version?: string;
    readonly data: unknown;
  };
}

export interface RunInfo {
  readonly id: string;
  readonly functionId: string;
  /** Calls of the function without progress so far, plus one. */
  readonly attempt: number;
  /** W3C trace context, for spans of your own. */
  readonly traceparent: string | undefined;
}

export interface HandlerContext<Data> {
  /** The event that started the run; of a batch the first one. */
  readonly event: TypedEvent<Data>;
  /** The events that started the run, in the order in which they came: several only with `batch`. */
  readonly events: readonly TypedEvent<Data>[];
  readonly step: StepTools;
  readonly run: RunInfo;
  /** Aborted when this activation is over for this process: connection lost, deadline passed, run taken over. */
  readonly signal: AbortSignal;
  /** Says nothing while code runs again that had been passed before. */
  readonly logger: Logger;
  /** Read best within the step that uses it: what a step returns is recorded, and a secret is not to be. */
  readonly secrets: HandlerSecrets;
  readonly config: HandlerConfig;
}

/** `Data` is what its handler gets, `Input` what an event or an invocation has to bring: they differ by its schema. */
export interface IronflowFunction<Data = unknown, Output = unknown, Input = Data> {
  readonly id: string;
  /** With every default filled in: what is registered. */
  readonly config: FunctionConfig;
  readonly schema: EventSchema<Data, Input> | undefined;
  /** The function that its failures start; registered with it. */
  readonly onFailure?: IronflowFunction;
  // A method, so that functions of all kinds of events go into one list.
  handler(context: HandlerContext<Data>): Output | Promise<Output>;
}

/**
 * Declares a function. Throws a ConfigurationError that names the field when the configuration breaks a rule, unknown
 * fields included.
 */
export function createFunction<Output, Data = unknown, Input = Data>(
  options: FunctionOptions<Data, Input>,
  handler: (context: HandlerContext<Data>) => Output | Promise<Output>,
): IronflowFunction<Data, Output, Input> {
  if (typeof handler !== 'function')
    throw new ConfigurationError('the handler must be a function', 'handler');
  const { schema, timeout, startDeadline, stepTimeout, onFailure, circuitBreaker, ...declared } = options;
  if (schema !== undefined && typeof schema.safeParseAsync !== 'function') {
    throw new ConfigurationError('schema: must be a Zod schema', 'schema');
  }
  const config = readConfig({
    ...declared,
    ...triggersOf(declared.triggers),
    ...retriesOf(declared.retries),
    ...readFlowControl(declared),
    ...(timeout === undefined ? {} : { timeoutMs: readFunctionTimeout(timeout, 'timeout') }),
    ...(startDeadline === undefined
      ? {}
      : { startDeadlineMs: readStartDeadline(startDeadline, 'startDeadline') }),
    ...(stepTimeout === undefined ? {} : { stepTimeoutMs: readStepTimeout(stepTimeout, 'stepTimeout') }),
    ...(circuitBreaker === undefined ? {} : { circuitBreaker: readCircuitBreaker(circuitBreaker) }),
  });
  const failures = onFailure === undefined ? {} : { onFailure: failureFunction(config, onFailure) };
  return Object.freeze({ id: config.id, config, schema, handler, ...failures });
}

/** As it is registered: durations in milliseconds, and refused under the names that they have here. */
function readCircuitBreaker(options: CircuitBreakerOptions): unknown {
  if (typeof options !== 'object' || options === null) return options;
  const { window, openFor, ...rest } = options;
  for (const name of ['windowMs', 'openMs']) {
    if (!(name in rest)) continue;
    const rule = `is unknown: ${name === 'openMs' ? 'openFor' : 'window'} is a duration such as "30s"`;
    throw new ConfigurationError(`circuitBreaker.${name}: ${rule}`, `circuitBreaker.${name}`);
  }
  return {
    ...rest,
    ...(window === undefined ? {} : { windowMs: readBreakerWindow(window, 'circuitBreaker.window') }),
    ...(openFor === undefined ? {} : { openMs: readBreakerOpening(openFor, 'circuitBreaker.openFor') }),
  };
}

const failureSuffix = '-on-failure';

function failureFunction(
  { id, name, retries, stepTimeoutMs }: FunctionConfig,
  onFailure: (context: FailureContext) => unknown,
): IronflowFunction {
  if (typeof onFailure !== 'function') {
    throw new ConfigurationError('onFailure: must be a function', 'onFailure');
  }
  const ownId = `${id}${failureSuffix}`;
  if (!functionIdSchema.safeParse(ownId).success) {
    const rule = `the id is too long for its failures' function, which is called ${ownId}`;
    throw new ConfigurationError(`onFailure: ${rule}`, 'onFailure');
  }
  const config = readConfig({
    id: ownId,
    ...(name === undefined ? {} : { name: `${name} (failure)`.slice(-256) }),
    triggers: [{ event: systemEventNames.functionFailed, if: `event.data.run.functionId == "${id}"` }],
    retries,
    ...(stepTimeoutMs === undefined ? {} : { stepTimeoutMs }),
  });
  const handler = ({ event: told, events: _events, ...context }: HandlerContext<unknown>): unknown => {
    const { run, error, event, notCompensated = [] } = told.data as FailureData;
    return onFailure({ ...context, error, failedRun: run, event, notCompensated });
  };
  return Object.freeze({ id: ownId, config, schema: undefined, handler });
}

/** Of the event `ironflow.function.failed`. */
interface FailureData {
  run: { id: string; functionId: string; appId: string };
  error: Failure;
  event: FailureContext['event'];
  /** Absent from a platform of an older version. */
  notCompensated?: NotCompensated[];
}

function readConfig(declared: unknown): FunctionConfig {
  const parsed = functionConfigSchema.safeParse(declared);
  if (parsed.success) return parsed.data;
  const { field, message } = describeIssue(parsed.error.issues[0]!);
  throw new ConfigurationError(`${field}: ${message}`, field);
}

/** What is no list is for the schema to refuse. */
function triggersOf(triggers: readonly TriggerOptions[]): { triggers?: unknown[] } {
  if (!Array.isArray(triggers)) return {};
  return {
    triggers: triggers.map((trigger: TriggerOptions, index) => {
      if (typeof trigger !== 'object' || trigger === null || !('cron' in trigger)) return trigger;
      const { jitter, catchUp, ...rest } = trigger;
      return {
        ...rest,
        ...(jitter === undefined ? {} : { jitterMs: readJitter(jitter, `triggers[${index}].jitter`) }),
        ...(catchUp === undefined ? {} : { catchUpMs: readCatchUp(catchUp, `triggers[${index}].catchUp`) }),
      };
    }),
  };
}

function retriesOf(retries: Retries | undefined): { retries?: Partial<RetryPolicy> } {
  if (retries === undefined) return {};
  return { retries: typeof retries === 'number' ? { attempts: retries } : retries };
}
