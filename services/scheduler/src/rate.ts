/**
 * The generic cell rate algorithm (ITU-T I.371, annex A; ATM Forum Traffic Management 4.0, 4.4.2), as a virtual scheduler: a rate lets
 * one in every `periodMs / limit`, and up to `burst` at once after a pause. In no window of a period, its end not counted, are there more
 * than `limit + burst - 1`, in whatever order the times come. Pure.
 */
import type { Rate } from '@ironflow/schema';

export type RateVerdict =
  /** `nextAtMs` is what there is to remember. */
  { kind: 'in'; nextAtMs: number } | { kind: 'out'; againAtMs: number };

/** Times since 1970 are exact to a quarter of a microsecond; it adds up to nothing, since what is remembered goes by the spacing. */
const roundingMs = 0.001;

/** `nextAtMs` is what was remembered: when the one after the last one is due if all are evenly spread; absent at the beginning. */
export function askRate(
  { limit, periodMs, burst }: Pick<Rate, 'limit' | 'periodMs' | 'burst'>,
  nextAtMs: number | undefined,
  atMs: number,
): RateVerdict {
  const spacingMs = periodMs / limit;
  const dueAtMs = Math.max(nextAtMs ?? atMs, atMs);
  const againAtMs = dueAtMs - (burst - 1) * spacingMs;
  return againAtMs > atMs + roundingMs
    ? { kind: 'out', againAtMs }
    : { kind: 'in', nextAtMs: dueAtMs + spacingMs };
}
