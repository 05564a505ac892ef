/**
 * What is beyond its age, decided from the time, the installation's age and those of environments. Pure.
 *
 * Rows of an environment with an age of its own go to the day. All others go with their month, once all of it is beyond the
 * installation's age: a month that is kept for something in it (a run that still runs, an environment that keeps it longer) is tried again
 * for a month, and then the rest of it goes row by row.
 */
import type { EnvironmentRetention } from '@ironflow/database';

export interface RetentionPlan {
  /** A month that ends later is not looked at, and a run that ended later keeps its month; undefined: months are kept for ever. */
  monthsBeforeMs: number | undefined;
  /** Of environments that do not keep everything, the time before which rows go. */
  rowsBeforeMs: ReadonlyMap<string, number>;
  /** Environments that keep what a month has which ends then. */
  keepersOf(month: { endMs: number }): string[];
}

export interface RetentionFacts {
  nowMs: number;
  /** Of the installation; undefined: for ever. */
  days: number | undefined;
  environments: readonly EnvironmentRetention[];
}

const dayMs = 86_400_000;
/** No month is longer: what is so much older than the age is of a month that was due. */
const monthDays = 31;

export function planRetention({ nowMs, days, environments }: RetentionFacts): RetentionPlan {
  const agoMs = (age: number): number => nowMs - age * dayMs;
  const rowsBeforeMs = new Map<string, number>();
  for (const { environmentId, days: own } of environments) {
    const age = own ?? (days === undefined ? undefined : days + monthDays);
    if (age !== undefined) rowsBeforeMs.set(environmentId, agoMs(age));
  }
  return {
    monthsBeforeMs: days === undefined ? undefined : agoMs(days),
    rowsBeforeMs,
    keepersOf: ({ endMs }) =>
      environments
        .filter(({ days: own }) => own !== undefined && agoMs(own) < endMs)
        .map(({ environmentId }) => environmentId),
  };
}
