import { expect, test } from '@jest/globals';
import { bulkConsumer, consumers, laneToken, pullConsumer } from '@ironflow/schema';
import type { Lane } from '@ironflow/schema';
import { executorBacklog } from './executor-backlog.js';

const environmentId = '01890000-0000-7000-8000-000000000000';
const filterSubject = 'ironflow.acme.prod.steps.>';

const push = (pending: number, ackPending = 0) => ({
  durable: consumers.pushExecutor.durable,
  pending,
  ackPending,
});
const bulk = (pending: number, ackPending = 0) => ({
  durable: bulkConsumer({ environmentId, filterSubject }).durable,
  pending,
  ackPending,
});
const pull = (lane: Lane, pending: number, ackPending = 0) => ({
  durable: pullConsumer({ environmentId, lane, filterSubject }).durable,
  pending,
  ackPending,
});
const slots = (of: Record<string, number>) => (lane: Lane) => of[laneToken(lane)] ?? 0;
const none = slots({});

test('all push activations that wait count, and those of floods', () => {
  expect(executorBacklog([push(7, 3), bulk(5, 2)], none)).toEqual({ backlog: 12, active: 5 });
});

test('nothing that waits is no backlog, however much is being driven', () => {
  expect(executorBacklog([push(0, 400), pull({ appId: 'shop' }, 0, 5)], slots({ shop: 10 }))).toEqual({
    backlog: 0,
    active: 405,
  });
});

test.each([
  ['an app without a worker', {}, 0],
  ['one whose slots are all taken', { shop: 4 }, 0],
  ['one with a free slot', { shop: 5 }, 1],
  ['one with room for all', { shop: 100 }, 9],
])('pull activations of %s count as far as a worker would have room', (_case, of, backlog) => {
  expect(executorBacklog([pull({ appId: 'shop' }, 9, 4)], slots(of))).toEqual({ backlog, active: 4 });
});

test('slots of workers of a build are those of their app, and count once', () => {
  const lanes = [pull({ appId: 'shop' }, 9, 1), pull({ appId: 'shop', buildId: 'v2' }, 9, 1)];
  expect(executorBacklog(lanes, slots({ shop: 6, 'shop=v2': 6 })).backlog).toBe(4);
});

test('what is pinned to a build that has no worker waits for one, whatever room its app has', () => {
  const lanes = [pull({ appId: 'shop' }, 0), pull({ appId: 'shop', buildId: 'gone' }, 9)];
  expect(executorBacklog(lanes, slots({ shop: 6 })).backlog).toBe(0);
});

test('apps do not lend one another their slots', () => {
  const lanes = [pull({ appId: 'shop' }, 9), pull({ appId: 'mail' }, 9, 2)];
  expect(executorBacklog(lanes, slots({ mail: 20 })).backlog).toBe(9);
});
