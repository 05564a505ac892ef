/**
 * How long the platform takes to recover from a fault: until the last probe that the fault has delayed is answered for. A probe is
 * an event whose run does nothing but work; one is delayed that takes longer from its first request to its run's end than
 * three times what is usual, or a second. It counts for the last fault that began before it ended late. Pure.
 */
import type { InjectedFault } from './injection.js';

export interface Probe {
  /** When it was asked for first. */
  sentAtMs: number;
  endedAtMs: number;
}

export interface Recovery {
  name: string;
  /** 0 where no probe was delayed. */
  ms: number;
}

const usualTimes = 3;
const slowMsMin = 1_000;

export function measureRecoveries(faults: readonly InjectedFault[], probes: readonly Probe[]): Recovery[] {
  const slowMs = slowAbove(faults, probes);
  const delayed = probes.filter(({ sentAtMs, endedAtMs }) => endedAtMs - sentAtMs > slowMs);
  const lastEnd = new Map<InjectedFault, number>();
  for (const { sentAtMs, endedAtMs } of delayed) {
    // What was asked for before the fault can be delayed by it, and what was asked for up to its end.
    const fault = faults
      .filter((one) => one.startedAtMs <= endedAtMs && one.endedAtMs + slowMs * 5 >= sentAtMs)
      .at(-1);
    if (fault !== undefined) lastEnd.set(fault, Math.max(lastEnd.get(fault) ?? 0, endedAtMs));
  }
  return faults.map((fault) => {
    const fromMs = fault.recoversFrom === 'start' ? fault.startedAtMs : fault.endedAtMs;
    return { name: fault.name, ms: Math.max(0, (lastEnd.get(fault) ?? 0) - fromMs) };
  });
}

/** Before the first fault. */
function slowAbove(faults: readonly InjectedFault[], probes: readonly Probe[]): number {
  const untilMs = faults[0]?.startedAtMs ?? Number.POSITIVE_INFINITY;
  const usual = probes
    .filter(({ endedAtMs }) => endedAtMs < untilMs)
    .map(({ sentAtMs, endedAtMs }) => endedAtMs - sentAtMs);
  return Math.max(slowMsMin, usualTimes * (percentile(usual, 0.5) ?? 0));
}

export function percentile(values: readonly number[], share: number): number | undefined {
  const sorted = [...values].sort((a, b) => a - b);
  return sorted[Math.min(sorted.length - 1, Math.ceil(share * sorted.length) - 1)] ?? sorted[0];
}
