/**
 * Flow control as a function declares it, with durations; what each rule does to the letter is in docs/flow-control.md. Keys are CEL
 * over `event`: each value is counted by itself, and events without one are counted together.
 */
import { concurrencySchema, limits } from '@ironflow/schema';
import { ConfigurationError } from './configuration-error.js';
import { readHoldTime, readRatePeriod } from './duration.js';
import type { Duration } from './duration.js';

/**
 * A rate by the generic cell rate algorithm (GCRA): `limit` in each `period`, evenly spread. After a pause `burst` may come at once; the
 * next one comes `period / limit` after the one before. In no window of a period are there more than `limit + burst - 1`.
 */
export interface RateOptions {
  /** 1 to 1,000,000. */
  limit: number;
  /** From a second to a week. */
  period: Duration;
  /** Default: 1. */
  burst?: number;
  key?: string;
}

export interface DebounceOptions {
  /** The run begins when no other event has come for so long; from 100 ms to a week. */
  period: Duration;
  /** But no longer than this after the first of them. Without it, events that keep coming put it off for as long as they do. */
  timeout?: Duration;
  key?: string;
}

export interface BatchOptions {
  /** The run begins with so many events, at most 1,000, or with 4 MiB of their data. */
  maxSize: number;
  /** Or so long after the first of them, however few there are; from 100 ms to a week. */
  timeout: Duration;
  key?: string;
}

export interface SingletonOptions {
  /** What comes while another run is live is skipped (`skip`), takes its place (`cancel`), or waits until it has ended (`queue`). */
  mode: 'skip' | 'cancel' | 'queue';
  key?: string;
}

export interface ConcurrencyOptions {
  /** 1 to 10,000. */
  limit: number;
  key?: string;
  /** `env`: counted together with all functions of the environment that have a rule with the same key. Default: `function`. */
  scope?: 'function' | 'env';
}

/** The rules apply in the order in which they stand here. */
export interface FlowControlOptions {
  /** CEL to a key: of events with the same one, only the first within 24 hours starts a run. The others are skipped. */
  idempotency?: string;
  /** Runs beyond the rate are skipped. */
  rateLimit?: RateOptions;
  /** One run for events that follow one another quickly: that of the last one. The runs of the others are skipped. */
  debounce?: DebounceOptions;
  /** One run for several events, which its handler gets as `events`. Not together with `debounce`. */
  batch?: BatchOptions;
  /** One live run at a time for each key, from its beginning to its end, however often it sleeps or waits. */
  singleton?: SingletonOptions;
  /** Runs beyond the rate wait for their turn. Only the beginning of a run counts, not that it goes on. */
  throttle?: RateOptions;
  /**
   * How many runs may be at work at once: a number, or up to three rules, all of which apply. A run that sleeps or waits is not at
   * work, and one that goes on comes before those that have not begun.
   */
  concurrency?: number | ConcurrencyOptions | readonly ConcurrencyOptions[];
  /**
   * CEL to seconds, −600 to 600: a run with 60 goes before those whose events came up to a minute earlier. It orders runs that wait for
   * `throttle`, `concurrency` or a pause to end.
   */
  priority?: string;
}

/** As it is registered, still unchecked but for its durations; each is refused with its field named. */
export function readFlowControl(options: FlowControlOptions): Record<string, unknown> {
  const { rateLimit, debounce, batch, throttle, concurrency } = options;
  return {
    ...(rateLimit === undefined ? {} : { rateLimit: readRate(rateLimit, 'rateLimit') }),
    ...(debounce === undefined ? {} : { debounce: readDebounce(debounce) }),
    ...(batch === undefined ? {} : { batch: readBatch(batch) }),
    ...(throttle === undefined ? {} : { throttle: readRate(throttle, 'throttle') }),
    ...(concurrency === undefined ? {} : { concurrency: readConcurrency(concurrency) }),
  };
}

function readRate(options: RateOptions, field: string): unknown {
  const { period, ...rest } = fieldsOf(options, field);
  return { ...rest, periodMs: readRatePeriod(period, `${field}.period`) };
}

function readDebounce(options: DebounceOptions): unknown {
  const { period, timeout, ...rest } = fieldsOf(options, 'debounce');
  const periodMs = readHoldTime(period, 'debounce.period');
  if (timeout === undefined) return { ...rest, periodMs };
  const timeoutMs = readHoldTime(timeout, 'debounce.timeout');
  if (timeoutMs < periodMs) {
    throw new ConfigurationError('debounce.timeout: must not be shorter than the period', 'debounce.timeout');
  }
  return { ...rest, periodMs, timeoutMs };
}

function readBatch(options: BatchOptions): unknown {
  const { timeout, ...rest } = fieldsOf(options, 'batch');
  return { ...rest, timeoutMs: readHoldTime(timeout, 'batch.timeout') };
}

function readConcurrency(options: NonNullable<FlowControlOptions['concurrency']>): unknown {
  if (typeof options !== 'number') return Array.isArray(options) ? options : [options];
  if (concurrencySchema.shape.limit.safeParse(options).success) return [{ limit: options }];
  const rule = `must be a whole number from 1 to ${limits.concurrencyMax}`;
  throw new ConfigurationError(`concurrency: ${rule}`, 'concurrency');
}

function fieldsOf<Options extends object>(options: Options, field: string): Options {
  if (typeof options === 'object' && (options as Options | null) !== null) return options;
  throw new ConfigurationError(`${field}: must be an object`, field);
}
