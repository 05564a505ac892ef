import { expect, test } from '@jest/globals';
import type { RunDetail } from '@ironflow/sdk';
import { drawTimeline, formatDuration } from './timeline.js';

const at = (ms: number): string => new Date(Date.UTC(2030, 0, 1) + ms).toISOString();

const run = (steps: RunDetail['steps']): RunDetail => ({
  id: '00000000-0000-7000-8000-000000000001',
  appId: 'app',
  functionId: 'f',
  functionHash: 'h',
  mode: 'pull',
  status: 'completed',
  eventId: '00000000-0000-7000-8000-000000000002',
  eventName: 'e',
  correlationId: 'c',
  createdAt: at(0),
  endedAt: at(1_000),
  steps,
});

test('a timeline has a line for each attempt, in the order of time', () => {
  const lines = drawTimeline(
    run([
      {
        id: 'b',
        name: 'b',
        type: 'run',
        attempt: 2,
        status: 'completed',
        startedAt: at(600),
        endedAt: at(1_000),
      },
      {
        id: 'b',
        name: 'b',
        type: 'run',
        attempt: 1,
        status: 'errored',
        startedAt: at(500),
        endedAt: at(510),
        error: { name: 'Error', message: 'no' },
      },
      {
        id: 'a',
        name: 'a',
        type: 'sleep',
        attempt: 1,
        status: 'completed',
        startedAt: at(0),
        endedAt: at(500),
      },
    ]),
    Date.UTC(2030, 0, 1),
  );
  expect(lines.map((line) => line.split('  ')[0]!.trim())).toEqual(['a', 'b', 'b (attempt 2)']);
  expect(lines[0]).toContain('················');
  expect(lines[1]).toContain('Error: no');
  expect(lines[2]).toContain('400 ms');
});

test('a run without steps has an empty timeline', () => {
  expect(drawTimeline(run([]), 0)).toEqual([]);
});

test('durations are told in the unit that fits', () => {
  expect([5, 1_500, 90_000, 7_200_000].map(formatDuration)).toEqual(['5 ms', '1.5 s', '1.5 min', '2.0 h']);
});

test('a run that waits behind a breaker says so in its last line, and until when', () => {
  const waiting = { ...run([]), status: 'waiting' as const };
  const until = at(60_000);
  expect(
    drawTimeline({ ...waiting, waitingFor: { rule: 'circuit_open', until } }, Date.parse(at(0))),
  ).toEqual([`(circuit_open)  |${' '.repeat(32)}·|  waiting     until ${until}`]);
  expect(drawTimeline(waiting, Date.parse(at(0)))).toEqual([]);
});
