import { expect, test } from '@jest/globals';
import { IronflowApiError } from '../client/api-error.js';
import { isNonRetryable } from '../function-errors.js';
import { createTestRun } from '../testing/test-run.js';
import { createFunction } from '../function.js';
import { asksNothing } from '../testing/memory-run.js';
import { publishOnce } from './publish.js';

const publishing = createFunction({ id: 'publishing', triggers: [] }, async ({ step }) => {
  const first = await step.publish('orders.shipped', { order: 1 });
  const again = await step.publish('orders.shipped', { order: 2 });
  await step.parallel('both', {
    left: (branch) => branch.publish('orders.shipped', 'left'),
    right: (branch) => branch.publish('orders.shipped', 'right', { name: 'tell' }),
  });
  return [first, again];
});

test('a message is published once, though a crash runs its step again; steps are named by the topic', async () => {
  const result = await createTestRun(publishing, { crashAfter: [1, 2] }).execute();
  expect(result).toMatchObject({ status: 'completed', output: [{ id: '1' }, { id: '2' }] });
  expect(result.published.slice(0, 2)).toEqual([
    { topic: 'orders.shipped', data: { order: 1 } },
    { topic: 'orders.shipped', data: { order: 2 } },
  ]);
  expect(result.published.map(({ topic }) => topic)).toEqual(Array(4).fill('orders.shipped'));
  expect(result.steps.map(({ id }) => id).sort()).toEqual([
    'both.left.orders.shipped',
    'both.right.tell',
    'orders.shipped',
    'orders.shipped:1',
  ]);
});

test.each([
  [400, true],
  [413, true],
  [429, false],
  [503, false],
])('what the platform answers with %i is given up at once: %p', async (status, isFinal) => {
  const refusal = new IronflowApiError({ status, code: 'c', message: 'not so' });
  const platform = { ...asksNothing, topics: { publish: () => Promise.reject(refusal) } };
  const step = { runId: 'run', stepId: 'step', signal: new AbortController().signal };
  const thrown = await publishOnce(platform, { topic: 't', data: 1 }, step).catch((error: unknown) => error);
  expect(isNonRetryable(thrown)).toBe(isFinal);
});
