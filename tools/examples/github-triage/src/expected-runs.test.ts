import { describe, expect, test } from '@jest/globals';
import { expectedFunctions, expectedPayloads, expectedRuns } from './expected-runs.js';
import { readPayloads } from './payloads.js';

const payloads = readPayloads();

/** The kinds of webhooks that the table speaks of, by hand as well. */
const eventNames: Record<string, string[]> = {
  'triage-issue': ['github.issues.opened', 'github.issues.reopened'],
  'greet-first-time-contributor': ['github.discussion.answered', 'github.fork'],
  'watch-security': [
    'github.code_scanning_alert.created',
    'github.code_scanning_alert.reopened',
    'github.dependabot_alert.created',
    'github.repository_vulnerability_alert.create',
    'github.security_advisory.published',
    'github.security_advisory.updated',
  ],
};

test('the installed package is the one that the table was made from', () => {
  expect(payloads).toHaveLength(expectedPayloads);
  expect(new Set(payloads.map(({ eventName }) => eventName.split('.')[1])).size).toBe(58);
});

describe.each(Object.entries(expectedFunctions))('%s', (functionId, expected) => {
  test('names payloads that exist, each once and in order', () => {
    const sorted = [...new Set(expected.payloads)].sort((one, other) => one - other);
    expect(expected.payloads).toEqual(sorted);
    expect(expected.payloads.every((index) => payloads[index]?.index === index)).toBe(true);
  });

  test('names payloads of the webhooks it is about', () => {
    const names = new Set(expected.payloads.map((index) => payloads[index]!.eventName));
    const wanted = eventNames[functionId];
    if (wanted === undefined)
      expect([...names].every((name) => /^github\.pull_request\.[a-z_]+$/.test(name))).toBe(true);
    else expect([...names].sort()).toEqual([...wanted].sort());
  });

  test('has three to six steps, a sleep among them', () => {
    const { steps, sleeps, retried } = expected;
    expect(steps.length + sleeps.length).toBeGreaterThanOrEqual(3);
    expect(steps.length + sleeps.length).toBeLessThanOrEqual(6);
    expect(sleeps.length).toBeGreaterThan(0);
    expect(retried.every((step) => steps.includes(step))).toBe(true);
  });
});

test('both modes and a retry are among the expected runs', () => {
  const all = Object.values(expectedFunctions);
  expect(new Set(all.map(({ mode }) => mode))).toEqual(new Set(['push', 'pull']));
  expect(all.some(({ retried }) => retried.length > 0)).toBe(true);
  expect(expectedRuns).toBe(46);
});
