import { describe, expect, test } from '@jest/globals';
import type { RunDetail, Step } from '@ironflow/sdk';
import type { ExpectedFunction } from './expected-runs.js';
import type { LedgerLine } from './ledger.js';
import { checkExample } from './report.js';
import type { ExampleFacts } from './report.js';
import { reportLines, timelineLines } from './report-text.js';

const expected: ExpectedFunction = {
  mode: 'push',
  payloads: [0, 2],
  steps: ['look', 'act'],
  sleeps: ['rest'],
  retried: ['act'],
};

describe('the demo is as expected', () => {
  test('when each function ran once for each of its payloads, and completed', () => {
    const report = checkExample(goodFacts());
    expect(report.problems).toEqual([]);
    expect(report).toMatchObject({ ok: true, accepted: 3, payloads: 3 });
    expect(report.functions).toEqual([
      { functionId: 'triage', mode: 'push', expected: 2, runs: 2, completed: 2, steps: 6, retries: 2 },
    ]);
  });
});

describe('the demo is not as expected', () => {
  const cases: [string, (facts: MutableFacts) => void, RegExp][] = [
    ['an event was not accepted', (facts) => facts.eventIds.pop(), /2 payloads were accepted/],
    [
      'two payloads became one event',
      (facts) => (facts.eventIds[1] = facts.eventIds[0]!),
      /2 payloads were accepted/,
    ],
    ['a run is missing', (facts) => facts.runs.pop(), /triage, payload 2: 0 runs known/],
    [
      'a function ran twice',
      (facts) => facts.runs.push({ ...facts.runs[0]!, id: 'again' }),
      /payload 0: 2 runs known/,
    ],
    [
      'a run is in the ledger only',
      (facts) => facts.ledger.push({ ...facts.ledger[0]!, run: 'unknown' }),
      /payload 0: 1 runs known, 2 in the ledger/,
    ],
    [
      'a run is not in the ledger',
      (facts) => (facts.ledger = facts.ledger.filter(({ payload }) => payload !== 2)),
      /payload 2: 1 runs known, 0 in the ledger/,
    ],
    ['a run failed', (facts) => (facts.runs[0]!.status = 'failed'), /run run-0: is failed, not completed/],
    [
      'a run was skipped',
      (facts) => Object.assign(facts.runs[0]!, { status: 'skipped', skipReason: 'condition_error' }),
      /run run-0: is skipped \(condition_error\), not completed/,
    ],
    [
      'a push function ran on a worker',
      (facts) => (facts.runs[0]!.mode = 'pull'),
      /run run-0: is pull, not push/,
    ],
    [
      'a payload started a function that it should not',
      (facts) => facts.runs.push(runOf(1)),
      /triage, payload 1: ran unexpectedly/,
    ],
    [
      'an unknown function ran',
      (facts) => facts.ledger.push({ ...facts.ledger[0]!, function: 'stranger' }),
      /stranger, payload 0: ran unexpectedly/,
    ],
    [
      'a step ended twice',
      (facts) => facts.ledger.push(lineOf(0, 'look', 1, 'end')),
      /step look ended 2 times in the ledger/,
    ],
    [
      'a step began once more than it should',
      (facts) => facts.ledger.push(lineOf(0, 'look', 1, 'begin')),
      /step look began 2 times in the ledger, not 1/,
    ],
    [
      'a step that fails at first was not tried again',
      (facts) => (facts.runs[0]!.steps = facts.runs[0]!.steps.filter(({ status }) => status !== 'errored')),
      /tried again , not act/,
    ],
    [
      'a sleep was not recorded',
      (facts) => (facts.runs[0]!.steps = facts.runs[0]!.steps.filter(({ type }) => type !== 'sleep')),
      /completed look, act, not look, act, rest/,
    ],
  ];
  test.each(cases)('when %s', (_, spoil, problem) => {
    const facts = goodFacts();
    spoil(facts);
    const report = checkExample(facts);
    expect(report.ok).toBe(false);
    expect(report.problems.join('\n')).toMatch(problem);
  });
});

test('the table has a line for each function, a sum and the verdict', () => {
  const lines = reportLines(checkExample(goodFacts()));
  expect(lines).toContain('function  mode  expected  runs  completed  steps  retries');
  expect(lines).toContain('triage    push         2     2          2      6        2');
  expect(lines).toContain('all                    2     2          2      6        2');
  expect(lines.at(-1)).toMatch(/^OK: 3 of 3 payloads accepted/);
});

test('problems are listed under the verdict, no more than can be read', () => {
  const report = {
    ...checkExample(goodFacts()),
    ok: false,
    problems: Array.from({ length: 25 }, (_, n) => `no. ${n}`),
  };
  const lines = reportLines(report);
  expect(lines).toContain('NOT OK: 3 of 3 payloads accepted; 25 problems');
  expect(lines).toContain('- no. 19');
  expect(lines.at(-1)).toBe('- and 5 more');
});

test('the timeline has every attempt in the order in which they began, with bars to scale', () => {
  expect(timelineLines(runOf(0))).toEqual([
    '',
    'One run: triage (push) of github.fork, completed after 1000 ms',
    '  run-0',
    '  step  attempt  status       began    took',
    '  look  1        completed    +0 ms  250 ms  ████████',
    '  act   1        errored    +250 ms  125 ms          ████',
    '  act   2        completed  +375 ms  125 ms              ████',
    '  rest  1        completed  +500 ms  500 ms                  ················',
    '',
  ]);
});

interface MutableFacts extends ExampleFacts {
  eventIds: string[];
  runs: RunDetail[];
  ledger: LedgerLine[];
}

function goodFacts(): MutableFacts {
  return {
    expectedFunctions: { triage: expected },
    expectedPayloads: 3,
    eventIds: ['event-0', 'event-1', 'event-2'],
    runs: expected.payloads.map(runOf),
    ledger: expected.payloads.flatMap((payload) => [
      lineOf(payload, 'look', 1, 'begin'),
      lineOf(payload, 'look', 1, 'end'),
      lineOf(payload, 'act', 1, 'begin'),
      lineOf(payload, 'act', 2, 'begin'),
      lineOf(payload, 'act', 2, 'end'),
    ]),
  };
}

function lineOf(payload: number, step: string, attempt: number, kind: LedgerLine['kind']): LedgerLine {
  const where = { delivery: `demo.${payload}`, payload, function: 'triage', run: `run-${payload}` };
  return { at: 0, ...where, step, attempt, kind };
}

function runOf(payload: number): RunDetail {
  return {
    id: `run-${payload}`,
    appId: 'app',
    functionId: 'triage',
    functionHash: 'hash',
    mode: 'push',
    status: 'completed',
    eventId: `event-${payload}`,
    eventName: 'github.fork',
    correlationId: `demo.${payload}`,
    createdAt: timeAt(0),
    startedAt: timeAt(0),
    endedAt: timeAt(1_000),
    steps: [
      stepOf({ name: 'look', startMs: 0, endMs: 250 }),
      stepOf({ name: 'act', attempt: 2, startMs: 375, endMs: 500 }),
      stepOf({ name: 'act', status: 'errored', startMs: 250, endMs: 375 }),
      stepOf({ name: 'rest', type: 'sleep', startMs: 500, endMs: 1_000 }),
    ],
  };
}

function stepOf(of: { name: string; startMs: number; endMs: number } & Partial<Step>): Step {
  const { name, startMs, endMs, type = 'run', attempt = 1, status = 'completed' } = of;
  return { id: name, name, type, attempt, status, startedAt: timeAt(startMs), endedAt: timeAt(endMs) };
}

function timeAt(ms: number): string {
  return new Date(Date.UTC(2026, 0, 1) + ms).toISOString();
}
