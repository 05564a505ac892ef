import { expect, test } from '@jest/globals';
import type { InjectedFault } from './injection.js';
import { measureRecoveries, percentile } from './recovery.js';

const fault = (over: Partial<InjectedFault>): InjectedFault => ({
  name: 'kill-executor',
  victim: 'executor 0',
  startedAtMs: 100_000,
  endedAtMs: 103_000,
  recoversFrom: 'start',
  ...over,
});
const probe = (sentAtMs: number, tookMs: number) => ({ sentAtMs, endedAtMs: sentAtMs + tookMs });
const usual = [probe(90_000, 200), probe(91_000, 300), probe(92_000, 400)];

test('a fault that delays no probe is recovered from at once', () => {
  const probes = [...usual, probe(100_500, 900)];
  expect(measureRecoveries([fault({})], probes)).toEqual([{ name: 'kill-executor', ms: 0 }]);
});

test('recovery ends with the last probe that was delayed, whether it had been asked for before or meanwhile', () => {
  const probes = [...usual, probe(99_900, 5_600), probe(101_000, 3_000)];
  expect(measureRecoveries([fault({})], probes)[0]!.ms).toBe(5_500);
  expect(measureRecoveries([fault({ recoversFrom: 'end' })], probes)[0]!.ms).toBe(2_500);
});

test('a delay counts for the last fault that can have caused it', () => {
  const faults = [fault({}), fault({ name: 'kill-nats', startedAtMs: 120_000, endedAtMs: 121_000 })];
  const probes = [...usual, probe(101_000, 2_000), probe(119_000, 6_000)];
  expect(measureRecoveries(faults, probes)).toEqual([
    { name: 'kill-executor', ms: 3_000 },
    { name: 'kill-nats', ms: 5_000 },
  ]);
});

test('what is usual is what was before the first fault', () => {
  const slowMachine = [probe(90_000, 900), probe(91_000, 1_000), probe(92_000, 1_100)];
  expect(measureRecoveries([fault({})], [...slowMachine, probe(100_000, 2_900)])[0]!.ms).toBe(0);
  expect(measureRecoveries([fault({})], [...slowMachine, probe(100_000, 3_100)])[0]!.ms).toBe(3_100);
});

test('percentiles are of what was measured', () => {
  expect(percentile([5, 1, 3], 0.5)).toBe(3);
  expect(percentile([5, 1, 3], 0.99)).toBe(5);
  expect(percentile([], 0.5)).toBeUndefined();
});
