/**
 * The generic cell rate algorithm (ITU-T I.371, annex A; ATM Forum Traffic Management 4.0, 4.4.2), as a virtual scheduler: a rate lets
 * one in every `periodMs / limit`, and up to `burst` at once after a pause. In no window of a period, its end not counted, are there more
 * than `limit + burst - 1`, in whatever order the times come. Of several that come together each counts, and they come in together or not at
 * all; more than the burst come in when nothing is owed, so that they are not refused forever. Pure.
 */
import type { Rate } from './flow-control.js';

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
  count = 1,
): RateVerdict {
  const spacingMs = periodMs / limit;
  const dueAtMs = Math.max(nextAtMs ?? atMs, atMs);
  const againAtMs = dueAtMs - (burst - Math.min(count, burst)) * spacingMs;
  return againAtMs > atMs + roundingMs
    ? { kind: 'out', againAtMs }
    : { kind: 'in', nextAtMs: dueAtMs + count * spacingMs };
}
