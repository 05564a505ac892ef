/** `createFunction` and the one object that a handler gets. Public: later versions only add. */
import { describeIssue, functionConfigSchema } from '@ironflow/schema';
import type { FunctionConfig, FunctionEvent } from '@ironflow/schema';
import type { RetryPolicy } from '@ironflow/retry-policy';
import { ConfigurationError } from './configuration-error.js';
import { readStepTimeout } from './duration.js';
import type { Duration } from './duration.js';
import type { Logger } from './logger.js';
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

export type TriggerOptions = { event: string; if?: string } | { cron: string; timezone?: string };

export interface FunctionOptions<Data, Input = Data> {
  /** Unique in the environment: 1 to 128 of A-Z, a-z, 0-9, "_" and "-". */
  id: string;
  name?: string;
  /** Events by name (`*` is one token, a last `>` the rest) with a CEL condition over `event`, and schedules. */
  triggers: readonly TriggerOptions[];
  /** For the function itself and, unless they say otherwise, for its steps. */
  retries?: Retries;
  /**
   * What an attempt of a step may take, unless the step says otherwise; at most a day. Its `signal` fires then, and the
   * attempt has failed. Without it nothing bounds a step.
   */
  stepTimeout?: Duration;
  /** Every event that starts the function has to fit, scheduled ones included; one that does not fails the run for good. */
  schema?: EventSchema<Data, Input>;
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
  readonly event: TypedEvent<Data>;
  /** The events that started the run; one of them for now. */
  readonly events: readonly TypedEvent<Data>[];
  readonly step: StepTools;
  readonly run: RunInfo;
  /** Aborted when this activation is over for this process: connection lost, deadline passed, run taken over. */
  readonly signal: AbortSignal;
  /** Says nothing while code runs again that had been passed before. */
  readonly logger: Logger;
}

/** `Data` is what its handler gets, `Input` what an event or an invocation has to bring: they differ by its schema. */
export interface IronflowFunction<Data = unknown, Output = unknown, Input = Data> {
  readonly id: string;
  /** With every default filled in: what is registered. */
  readonly config: FunctionConfig;
  readonly schema: EventSchema<Data, Input> | undefined;
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
  const { schema, stepTimeout, ...declared } = options;
  if (schema !== undefined && typeof schema.safeParseAsync !== 'function') {
    throw new ConfigurationError('schema: must be a Zod schema', 'schema');
  }
  const config = readConfig({
    ...declared,
    ...retriesOf(declared.retries),
    ...(stepTimeout === undefined ? {} : { stepTimeoutMs: readStepTimeout(stepTimeout, 'stepTimeout') }),
  });
  return Object.freeze({ id: config.id, config, schema, handler });
}

function readConfig(declared: unknown): FunctionConfig {
  const parsed = functionConfigSchema.safeParse(declared);
  if (parsed.success) return parsed.data;
  const { field, message } = describeIssue(parsed.error.issues[0]!);
  throw new ConfigurationError(`${field}: ${message}`, field);
}

function retriesOf(retries: Retries | undefined): { retries?: Partial<RetryPolicy> } {
  if (retries === undefined) return {};
  return { retries: typeof retries === 'number' ? { attempts: retries } : retries };
}
