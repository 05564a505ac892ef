/** Reads what `createTestRun` is given; a mistake in it is a ConfigurationError that names the option. */
import type { DeliveredEvent } from '@ironflow/schema';
import { deliveredEventSchema, describeIssue, limits } from '@ironflow/schema';
import { ConfigurationError } from '../configuration-error.js';
import type { FunctionOptions, IronflowFunction, TypedEvent } from '../function.js';
import type { StepMock } from './step-mocks.js';

export interface TestRunOptions<Data = unknown> {
  /** Of the event that starts the run; it has to be JSON. Without it, and without `event`, the event has no data. */
  data?: Data;
  /** In place of `data`: what is left out has defaults; the name is that of the function's first trigger. */
  event?: Partial<TypedEvent<Data>>;
  /** In place of both, for a function with `batch`: what the run begins with, in that order; at most 1,000. */
  events?: readonly Partial<TypedEvent<Data>>[];
  /**
   * By the id of a step (`charge:1`, `sync[0].load`) or its name; by the name of a `step.map` for all its items. A step
   * that none is given for does its work.
   */
  steps?: Readonly<Record<string, StepMock>>;
  /**
   * The process dies as the n-th record of the run has been kept, for each n, in rising order; then the run goes on in
   * another. Each attempt of a step that ended is a record, and so is the beginning of a sleep. In push mode the call in
   * which the n-th record was made is lost before it is answered, with everything that it recorded. Work that was under
   * way goes on, since nothing can stop it, but its `signal` fires.
   */
  crashAfter?: readonly number[];
  /** How the function is called: by a worker (`pull`, the default) or as an endpoint. */
  mode?: 'pull' | 'push';
  /** What `secrets.get` finds, by name; any other name it does not find. */
  secrets?: Readonly<Record<string, string>>;
  /** What `config.get` finds, by name: JSON. */
  config?: Readonly<Record<string, unknown>>;
  /** What the run's clock shows at the start; default: the time of this machine. */
  now?: Date;
}

export interface ReadOptions {
  event: DeliveredEvent;
  /** Those after the first. */
  laterEvents: DeliveredEvent[];
  mocks: Readonly<Record<string, StepMock>>;
  crashAfter: readonly number[];
  mode: 'pull' | 'push';
  secrets: Readonly<Record<string, string>>;
  config: Readonly<Record<string, unknown>>;
  nowMs: number;
}

const known = ['data', 'event', 'events', 'steps', 'crashAfter', 'mode', 'secrets', 'config', 'now'];
const eventFields = ['id', 'name', 'data', 'version', 'receivedAt', 'correlationId'];
/** Of the first event; those after it have their place in the last digits. */
const eventId = '0192f0c0-0000-7000-8000-000000000000';

export function readOptions(definition: unknown, options: TestRunOptions): ReadOptions {
  if (!isFunctionDefinition(definition)) {
    throw new ConfigurationError('createTestRun takes what createFunction returns');
  }
  refuseUnknown(options, known, '');
  const {
    steps: mocks = {},
    crashAfter = [],
    mode = 'pull',
    secrets = {},
    config = {},
    now = new Date(),
  } = options;
  if (!isRecord(mocks)) throw new ConfigurationError('steps: must be an object of mocks', 'steps');
  if (!isRecord(secrets) || !Object.values(secrets).every((value) => typeof value === 'string')) {
    throw new ConfigurationError('secrets: must be an object of texts', 'secrets');
  }
  if (!isRecord(config)) throw new ConfigurationError('config: must be an object of documents', 'config');
  if (mode !== 'pull' && mode !== 'push') {
    throw new ConfigurationError('mode: must be "pull" or "push"', 'mode');
  }
  if (!(now instanceof Date) || Number.isNaN(now.getTime())) {
    throw new ConfigurationError('now: must be a valid Date', 'now');
  }
  if (!Array.isArray(crashAfter) || !crashAfter.every(isAboveTheOneBefore)) {
    throw new ConfigurationError('crashAfter: must be whole numbers from 1, in rising order', 'crashAfter');
  }
  const nowMs = now.getTime();
  const [event, ...laterEvents] = readEvents(definition, options, nowMs);
  return {
    event: event!,
    laterEvents,
    mocks,
    crashAfter: crashAfter as number[],
    mode,
    secrets,
    // As it comes from the platform.
    config: (JSON.parse(textOf(config, 'config')) ?? {}) as Readonly<Record<string, unknown>>,
    nowMs,
  };
}

function readEvents(definition: IronflowFunction, options: TestRunOptions, nowMs: number): DeliveredEvent[] {
  const { data, event, events } = options;
  if ('data' in options && 'event' in options) {
    throw new ConfigurationError('give either data or event, which has data of its own', 'data');
  }
  if (events === undefined) {
    return [readEvent(definition, event ?? { data }, { field: 'event', id: eventId, nowMs })];
  }
  if ('data' in options || 'event' in options) {
    throw new ConfigurationError('give either events or one event', 'events');
  }
  if (!Array.isArray(events) || events.length === 0 || events.length > limits.batchSizeMax) {
    throw new ConfigurationError(`events: must be a list of 1 to ${limits.batchSizeMax} events`, 'events');
  }
  return events.map((given, index) => {
    const id = `${eventId.slice(0, -4)}${index.toString(16).padStart(4, '0')}`;
    return readEvent(definition, given as Partial<TypedEvent<unknown>>, {
      field: `events[${index}]`,
      id,
      nowMs,
    });
  });
}

function readEvent(
  definition: IronflowFunction,
  given: Partial<TypedEvent<unknown>>,
  { field: place, id, nowMs }: { field: string; id: string; nowMs: number },
): DeliveredEvent {
  refuseUnknown(given, eventFields, place);
  const receivedAtMs = given.receivedAt === undefined ? nowMs : Date.parse(given.receivedAt);
  const parsed = deliveredEventSchema.safeParse({
    id: given.id ?? id,
    name: given.name ?? nameOf(definition.config.triggers),
    data: textOf(given.data),
    ...(given.version === undefined ? {} : { version: given.version }),
    receivedAtMs,
    correlationId: given.correlationId ?? given.id ?? id,
  });
  if (parsed.success) return parsed.data;
  const { field, message } = describeIssue(parsed.error.issues[0]!);
  throw new ConfigurationError(`${place}.${field}: ${message}`, `${place}.${field}`);
}

/** Of the first trigger that names one event. */
function nameOf(triggers: FunctionOptions<unknown>['triggers']): string {
  const names = triggers.flatMap((trigger) => ('event' in trigger ? [trigger.event] : []));
  return names.find((name) => !/[*>]/.test(name)) ?? 'test.event';
}

function textOf(data: unknown, field: 'data' | 'config' = 'data'): string {
  if (data === undefined) return '';
  try {
    const text = JSON.stringify(data) as string | undefined;
    if (text !== undefined) return text;
  } catch {
    // A circle, or a BigInt: refused as what JSON has no text for.
  }
  const what = field === 'data' ? "the event's data" : 'a document';
  throw new ConfigurationError(`${field}: ${what} must be JSON`, field);
}

function isAboveTheOneBefore(count: unknown, index: number, counts: readonly unknown[]): boolean {
  return Number.isInteger(count) && (count as number) > (index === 0 ? 0 : (counts[index - 1] as number));
}

function refuseUnknown(given: unknown, names: readonly string[], path: string): void {
  if (!isRecord(given)) throw new ConfigurationError(`${path || 'the options'}: must be an object`);
  const unknown = Object.keys(given).find((name) => !names.includes(name));
  if (unknown === undefined) return;
  const field = path === '' ? unknown : `${path}.${unknown}`;
  throw new ConfigurationError(`${field}: is not a known field; there are ${names.join(', ')}`, field);
}

function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

function isFunctionDefinition(value: unknown): value is IronflowFunction {
  return isRecord(value) && typeof value.handler === 'function' && isRecord(value.config);
}
