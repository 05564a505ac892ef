import { expect, test } from '@jest/globals';
import { callsWhileForced, fragileFunction, judgeOpenTime } from './breaker-calls.js';
import type { BreakerChange, EndpointCall } from './breaker-calls.js';

const { openMs } = fragileFunction;
const call = (atMs: number): EndpointCall => ({ atMs, mode: 'fails' });
const changes: BreakerChange[] = [
  { change: 'opened', atMs: 1_000 },
  { change: 'opened', atMs: 1_000 + openMs + 50 },
  { change: 'closed', atMs: 1_000 + 2 * openMs + 100 },
];
const first = [call(900), call(990), call(1_200)];
const probes = [call(1_000 + openMs + 10), call(1_000 + 2 * openMs + 70)];

test('one probe a window is right, and what came before everybody had to obey is counted apart', () => {
  expect(judgeOpenTime([...first, ...probes], changes)).toEqual({
    ...{ windows: 2, callsBefore: 3, probes: 2, failures: [] },
  });
});

test.each<[string, EndpointCall[], BreakerChange[], RegExp]>([
  ['two calls in a window', [...probes, call(1_000 + openMs + 20)], changes, /2 calls in one window/],
  [
    'a call while it was open',
    [call(1_000 + 2_000), ...probes.slice(1)],
    changes,
    /1 calls while it was open/,
  ],
  ['a breaker that stays open', probes, changes.slice(0, 2), /did not open and close/],
])('%s is wrong', (_what, calls, told, failure) => {
  expect(judgeOpenTime(calls, told).failures.join()).toMatch(failure);
});

test('a call while it was forced open is counted, and none of before', () => {
  const forced: BreakerChange[] = [
    { change: 'forced', atMs: 1_000 },
    { change: 'reset', atMs: 9_000 },
  ];
  expect(callsWhileForced([call(1_500), call(9_100)], forced)).toBe(0);
  expect(callsWhileForced([call(1_500), call(5_000)], forced)).toBe(1);
});
