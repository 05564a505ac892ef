/** Durations as people write them: milliseconds, or a number with a unit such as `"90s"`, `"5m"`, `"7d"`. */
import {
  circuitOverridesSchema,
  cronTriggerSchema,
  debounceSchema,
  functionTimeoutMsSchema,
  rateSchema,
  startDeadlineMsSchema,
  stepTimeoutMsSchema,
} from '@ironflow/schema';
import { ConfigurationError } from './configuration-error.js';

type Unit = 'ms' | 's' | 'm' | 'h' | 'd' | 'w';
export type Duration = number | `${number}${Unit}`;

const unitMs: Record<Unit, number> = {
  ms: 1,
  s: 1_000,
  m: 60_000,
  h: 3_600_000,
  d: 86_400_000,
  w: 604_800_000,
};
const pattern = /^(\d+(?:\.\d+)?)(ms|s|m|h|d|w)$/;

/** Ten years: what is longer is a mistake of units. */
export const durationMsMax = 3_653 * unitMs.d;

/** Whole milliseconds, never negative; refuses what it cannot read with a ConfigurationError. */
export function parseDuration(duration: Duration): number {
  const ms = typeof duration === 'number' ? duration : readText(duration);
  if (!Number.isFinite(ms)) {
    throw new ConfigurationError(
      'a duration is milliseconds, or a number and one of ms, s, m, h, d, w: "90s"',
    );
  }
  if (ms > durationMsMax) throw new ConfigurationError('a duration is at most ten years');
  return Math.max(0, Math.ceil(ms));
}

/** Of one attempt of a step; `field` is named when it is refused. */
export function readStepTimeout(timeout: Duration, field: string): number {
  const parsed = stepTimeoutMsSchema.safeParse(msOf(timeout));
  if (parsed.success) return parsed.data;
  throw new ConfigurationError(`${field}: must be a duration from 1 ms to a day, such as "30s"`, field);
}

/** Of a run's activity; `field` is named when it is refused. */
export function readFunctionTimeout(timeout: Duration, field: string): number {
  const parsed = functionTimeoutMsSchema.safeParse(msOf(timeout));
  if (parsed.success) return parsed.data;
  throw new ConfigurationError(`${field}: must be a duration from 1 ms to a week, such as "10m"`, field);
}

/** Of a run's begin; `field` is named when it is refused. */
export function readStartDeadline(deadline: Duration, field: string): number {
  const parsed = startDeadlineMsSchema.safeParse(msOf(deadline));
  if (parsed.success) return parsed.data;
  throw new ConfigurationError(`${field}: must be a duration from 1 ms to a year, such as "1h"`, field);
}

/** Of a schedule's times; `field` is named when it is refused. */
export function readJitter(jitter: Duration, field: string): number {
  const parsed = cronTriggerSchema.shape.jitterMs.safeParse(msOf(jitter));
  if (parsed.success && parsed.data !== undefined) return parsed.data;
  throw new ConfigurationError(`${field}: must be a duration from 1 ms to an hour, such as "30s"`, field);
}

/** Of a schedule's times that could not be fired; `field` is named when it is refused. */
export function readCatchUp(window: Duration, field: string): number {
  const parsed = cronTriggerSchema.shape.catchUpMs.safeParse(msOf(window));
  if (parsed.success && parsed.data !== undefined) return parsed.data;
  throw new ConfigurationError(`${field}: must be a duration from 10 s to 30 days, such as "6h"`, field);
}

/** Of a rate; `field` is named when it is refused. */
export function readRatePeriod(period: Duration, field: string): number {
  const parsed = rateSchema.shape.periodMs.safeParse(msOf(period));
  if (parsed.success) return parsed.data;
  throw new ConfigurationError(`${field}: must be a duration from a second to a week, such as "1m"`, field);
}

/** For which a run is held back until more events have come; `field` is named when it is refused. */
export function readHoldTime(time: Duration, field: string): number {
  const parsed = debounceSchema.shape.periodMs.safeParse(msOf(time));
  if (parsed.success) return parsed.data;
  throw new ConfigurationError(`${field}: must be a duration from 100 ms to a week, such as "5s"`, field);
}

/** In which a circuit breaker counts; `field` is named when it is refused. */
export function readBreakerWindow(window: Duration, field: string): number {
  const parsed = circuitOverridesSchema.shape.windowMs.unwrap().safeParse(msOf(window));
  if (parsed.success) return parsed.data;
  throw new ConfigurationError(`${field}: must be a duration from 1 s to an hour, such as "30s"`, field);
}

/** For which a circuit breaker is open; `field` is named when it is refused. */
export function readBreakerOpening(opening: Duration, field: string): number {
  const parsed = circuitOverridesSchema.shape.openMs.unwrap().safeParse(msOf(opening));
  if (parsed.success) return parsed.data;
  throw new ConfigurationError(`${field}: must be a duration from 100 ms to a day, such as "1m"`, field);
}

function msOf(duration: Duration): number {
  const ms = typeof duration === 'number' ? duration : readText(duration);
  return Math.ceil(ms);
}

function readText(text: unknown): number {
  const match = typeof text === 'string' ? pattern.exec(text) : null;
  return match === null ? Number.NaN : Number(match[1]) * unitMs[match[2] as Unit];
}
