import { expect, test } from '@jest/globals';
import { judgeFirings, minuteSchedules, timesOf } from './schedule-times.js';

const startMs = Date.UTC(2030, 0, 1, 12, 0, 0);

test('a schedule has a time in each minute, at its second', () => {
  const [every, atOne] = minuteSchedules(2);
  expect(timesOf(every!, startMs, startMs + 120_000)).toEqual([startMs, startMs + 60_000, startMs + 120_000]);
  expect(timesOf(atOne!, startMs, startMs + 61_000)).toEqual([startMs + 1_000, startMs + 61_000]);
  expect(timesOf(atOne!, startMs + 1_001, startMs + 60_999)).toEqual([]);
});

test('times that are missing, fired twice or not expected are told apart', () => {
  const schedules = minuteSchedules(2);
  const span = { fromMs: startMs, toMs: startMs + 90_000 };
  const once = { events: 1, runs: 1 };
  const all = schedules.flatMap((schedule) =>
    timesOf(schedule, span.fromMs, span.toMs).map((scheduledAtMs) => ({
      functionId: schedule.functionId,
      scheduledAtMs,
      ...once,
    })),
  );
  expect(judgeFirings(schedules, span, all)).toEqual({
    expected: 4,
    fired: 4,
    missing: 0,
    twice: 0,
    strange: 0,
  });
  const wrong = [
    { ...all[0]!, events: 2, runs: 2 },
    all[1]!,
    all[2]!,
    { functionId: 'minutely-1', scheduledAtMs: startMs + 2_000, ...once },
    { functionId: 'minutely-1', scheduledAtMs: startMs + 121_000, ...once },
  ];
  expect(judgeFirings(schedules, span, wrong)).toEqual({
    expected: 4,
    fired: 4,
    missing: 1,
    twice: 1,
    strange: 1,
  });
});
