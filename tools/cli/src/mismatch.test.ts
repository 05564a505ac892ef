import { expect, test } from '@jest/globals';
import { describeMismatch } from './mismatch.js';

test('each step is named with what is recorded, what the code does, and what can be done', () => {
  const lines = describeMismatch({
    count: 5,
    steps: [
      { id: 'nap', kind: 'out_of_turn', type: 'sleep', status: 'waiting' },
      { id: 'charge:1', kind: 'not_called', type: 'run', status: 'completed' },
      { id: 'a\u001b[31m', kind: 'type_changed', type: 'sleep', status: 'completed', calledAs: 'run' },
    ],
  });
  expect(lines.slice(1, 5)).toEqual([
    '  nap: recorded as sleep, waiting; the code went on without calling it where it is recorded',
    '  charge:1: recorded as run, completed; the code returned without calling it',
    expect.stringMatching(
      /^  a.*: recorded as sleep, completed; the code calls it as run, so the run failed$/,
    ),
    '  and 2 more',
  ]);
  expect(lines.join('\n')).not.toContain('\u001b');
  expect(lines.at(-1)).toMatch(/step\.patched.*runs rerun/);
});
