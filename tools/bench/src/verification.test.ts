import { expect, test } from '@jest/globals';
import { problemsOf } from './verification.js';

const answered = { requests: 12, failures: 0, runs: 10, storedEvents: 100 };
const counts = { completedRuns: 10, openRuns: 0, completedSteps: 30, storedEvents: 100 };
const spans = { sent: 50, dropped: 0 };

test('what was answered and is there has nothing wrong; more may be there than was answered', () => {
  expect(problemsOf(answered, counts, spans)).toEqual([]);
  const more = { completedRuns: 11, openRuns: 0, completedSteps: 33, storedEvents: 101 };
  expect(problemsOf(answered, more, spans)).toEqual([]);
});

test.each([
  ['a request that failed', { ...answered, failures: 1 }, counts, spans, '1 of 12 requests failed'],
  ['a run that is missing', { ...answered, runs: 11 }, counts, spans, '11 runs were answered, 10 are there'],
  ['a step that is missing', answered, { ...counts, completedSteps: 29 }, spans, 'have 29 steps'],
  ['a step too many', answered, { ...counts, completedSteps: 31 }, spans, 'have 31 steps'],
  ['a run that goes on', answered, { ...counts, openRuns: 1 }, spans, '1 runs have not ended'],
  ['an event that is missing', answered, { ...counts, storedEvents: 99 }, spans, '99 are there'],
  ['no spans', answered, counts, { ...spans, sent: 0 }, 'no span was sent'],
  ['spans that were dropped', answered, counts, { ...spans, dropped: 2 }, '2 spans were dropped'],
])('%s is a problem', (_, seen, there, traced, problem) => {
  expect(problemsOf(seen, there, traced)).toEqual([expect.stringContaining(problem)]);
});
