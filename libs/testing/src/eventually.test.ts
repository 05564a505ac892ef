import { expect, test } from '@jest/globals';
import { eventually } from './eventually.js';

test('the result of the first check that passes is given', async () => {
  let calls = 0;
  const result = await eventually(() => {
    calls += 1;
    if (calls < 3) throw new Error('not yet');
    return calls;
  });
  expect(result).toBe(3);
});

test('when time is up, the last failure and what was waited for are told', async () => {
  const check = () => Promise.reject(new Error('still closed'));
  await expect(eventually(check, { timeoutMs: 30, description: 'the door' })).rejects.toThrow(
    'waited 30 ms for the door; last: still closed',
  );
});

test('a check that hangs does not outlast the deadline', async () => {
  const check = () => new Promise<never>(() => undefined);
  await expect(eventually(check, { timeoutMs: 30 })).rejects.toThrow('the check did not answer');
});
