import { expect, test } from '@jest/globals';
import { latenessOf, problemsOfTimers } from './sleepers.js';

test('lateness is told by its median, its 99th percentile and its ends', () => {
  const all = Array.from({ length: 1_000 }, (_, n) => 1_000 - n);
  expect(latenessOf(all)).toEqual({ p50Ms: 501, p99Ms: 991, maxMs: 1_000, minMs: 1 });
});

test('a timer that is late is no problem, one that is early is', () => {
  const late = latenessOf([0, 900]);
  expect(problemsOfTimers({ timers: 2, fired: late, nextStep: late })).toEqual([]);
  const early = latenessOf([-3, 2]);
  expect(problemsOfTimers({ timers: 2, fired: early, nextStep: late })).toEqual(['a timer was 3 ms early']);
});
