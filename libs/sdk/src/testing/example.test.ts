import { expect, test } from '@jest/globals';
import { createFunction } from '../index.js';
import { createTestRun } from './index.js';

const tips = createFunction({ id: 'tips', triggers: [{ event: 'user.created' }] }, async ({ step }) => {
  await step.run('create account', () =>
    fetch('https://accounts.example.org', { method: 'POST' }).then(String),
  );
  await step.sleep('let them look around', '1d');
  return step.run('send tips', () => fetch('https://mail.example.org', { method: 'POST' }).then(String));
});

test('tips go out a day later, though the process dies twice and the mail server is busy', async () => {
  const run = createTestRun(tips, {
    steps: {
      'create account': 'account 7',
      'send tips': ({ attempt }) => (attempt < 3 ? Promise.reject(new Error('busy')) : 'sent'),
    },
    crashAfter: [1, 2],
    now: new Date('2026-01-01T00:00:00Z'),
  });
  const { output, steps, now } = await run.execute();
  expect(output).toBe('sent');
  expect(steps.map(({ id, attempts }) => `${id} ×${attempts}`)).toEqual([
    'create account ×1',
    'let them look around ×1',
    'send tips ×3',
  ]);
  expect(now()).toEqual(new Date('2026-01-02T00:00:03Z'));
});
