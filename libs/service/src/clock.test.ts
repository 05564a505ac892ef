import { afterEach, expect, jest, test } from '@jest/globals';
import { systemClock } from './clock.js';

afterEach(() => {
  jest.useRealTimers();
});

test('a timer fires once, and not when it was cancelled', () => {
  jest.useFakeTimers();
  const fired: string[] = [];
  systemClock.setTimeout(() => fired.push('kept'), 50);
  const cancelled = systemClock.setTimeout(() => fired.push('cancelled'), 50);
  cancelled.cancel();
  cancelled.cancel();
  jest.advanceTimersByTime(500);
  expect(fired).toEqual(['kept']);
});

test('a timer of ninety days waits ninety days', () => {
  jest.useFakeTimers();
  const start = systemClock.now();
  let firedAfterMs = 0;
  const ninetyDaysMs = 90 * 24 * 3_600_000;
  systemClock.setTimeout(() => (firedAfterMs = systemClock.now() - start), ninetyDaysMs);
  jest.advanceTimersByTime(ninetyDaysMs - 1);
  expect(firedAfterMs).toBe(0);
  jest.advanceTimersByTime(1);
  expect(firedAfterMs).toBe(ninetyDaysMs);
});

test('a chained timer can be cancelled in its later parts', () => {
  jest.useFakeTimers();
  let isFired = false;
  const timer = systemClock.setTimeout(() => (isFired = true), 2 ** 31 + 1_000);
  jest.advanceTimersByTime(2 ** 31);
  timer.cancel();
  jest.advanceTimersByTime(10_000);
  expect(isFired).toBe(false);
});
