import { describe, expect, test } from '@jest/globals';
import type { Schedule } from '@ironflow/database';
import { createTimetables, jitterOf } from '@ironflow/schedule';
import fc from 'fast-check';
import { createScheduleBook, lookBackMs } from './schedule-book.js';
import type { ScheduleBook } from './schedule-book.js';

const startMs = Date.UTC(2030, 0, 1, 12, 0, 30);
const minuteMs = 60_000;

/** All before the first look is settled, as it is of one that somebody else has fired so far. */
function scheduleOf(cron: string, beginsAtMs = 0, changes: Partial<Schedule> = {}): Schedule {
  return {
    scope: { environmentId: '0190a000-0000-7000-8000-000000000001', project: 'shop', env: 'prod' },
    functionId: 'report',
    trigger: { cron, timezone: 'UTC' },
    beginsAtMs,
    pausedAtMs: undefined,
    settledUntilMs: startMs,
    ...changes,
  };
}

function bookOf(...schedules: Schedule[]): ScheduleBook {
  const book = createScheduleBook(createTimetables());
  book.replace(schedules);
  return book;
}

const dueTimes = (book: ScheduleBook, nowMs: number): string[] =>
  book.due(nowMs).firings.map(({ scheduledAtMs }) => new Date(scheduledAtMs).toISOString().slice(11, 19));

function settleAll(book: ScheduleBook, nowMs: number): string[] {
  const { firings } = book.due(nowMs);
  for (const firing of firings) book.settle(firing);
  return firings.map(({ scheduledAtMs }) => new Date(scheduledAtMs).toISOString().slice(11, 19));
}

test('a replica that starts fires the last minute and a half', () => {
  expect(dueTimes(bookOf(scheduleOf('* * * * *')), startMs)).toEqual(['12:00:00']);
  expect(dueTimes(bookOf(scheduleOf('*/30 * * * * *')), startMs)).toEqual([
    '11:59:30',
    '12:00:00',
    '12:00:30',
  ]);
});

test('a time before the registration never comes up, one on its very millisecond does', () => {
  const book = bookOf(scheduleOf('*/10 * * * * *', startMs - 20_000));
  expect(dueTimes(book, startMs)).toEqual(['12:00:10', '12:00:20', '12:00:30']);
  expect(dueTimes(bookOf(scheduleOf('*/10 * * * * *', startMs - 19_999)), startMs)).toEqual([
    '12:00:20',
    '12:00:30',
  ]);
  expect(dueTimes(bookOf(scheduleOf('* * * * *', startMs)), startMs)).toEqual([]);
});

test('a time comes up until it is settled, and then never again', () => {
  const book = bookOf(scheduleOf('* * * * *'));
  expect(dueTimes(book, startMs)).toEqual(['12:00:00']);
  expect(settleAll(book, startMs + minuteMs)).toEqual(['12:00:00', '12:01:00']);
  expect(dueTimes(book, startMs + minuteMs)).toEqual([]);
  book.replace([scheduleOf('* * * * *')]);
  expect(dueTimes(book, startMs + minuteMs)).toEqual([]);
});

test('a clock that is set back brings nothing up again', () => {
  const book = bookOf(scheduleOf('*/10 * * * * *'));
  settleAll(book, startMs);
  expect(dueTimes(book, startMs - 40_000)).toEqual([]);
  expect(dueTimes(book, startMs + 10_000)).toEqual(['12:00:40']);
});

test('a schedule that was registered anew, or resumed, begins at that moment', () => {
  const book = bookOf(scheduleOf('*/10 * * * * *'));
  dueTimes(book, startMs);
  book.replace([scheduleOf('*/10 * * * * *', startMs + 5_000)]);
  expect(dueTimes(book, startMs + 10_000)).toEqual(['12:00:40']);
});

test('a schedule that is gone takes its open times with it', () => {
  const book = bookOf(scheduleOf('* * * * *'));
  dueTimes(book, startMs);
  book.replace([]);
  expect(dueTimes(book, startMs)).toEqual([]);
  expect(book.nextDueMs(startMs)).toBeUndefined();
});

test('after looking back again the settled times of the recent past come up once more', () => {
  const book = bookOf(scheduleOf('* * * * *', startMs - minuteMs));
  settleAll(book, startMs);
  book.lookBackAgain();
  expect(dueTimes(book, startMs)).toEqual(['12:00:00']);
});

test('after NATS was away for long, those that were settled last before come up once more', () => {
  const book = bookOf(scheduleOf('*/10 * * * *', startMs - minuteMs));
  expect(settleAll(book, startMs)).toEqual(['12:00:00']);
  const nowMs = startMs + 25 * minuteMs;
  expect(settleAll(book, nowMs)).toEqual(['12:10:00', '12:20:00']);
  // Nothing was written since: Postgres has it as settled until NATS was lost.
  book.lookBackAgain();
  expect(dueTimes(book, nowMs)).toEqual(['12:00:00', '12:10:00', '12:20:00']);
});

test('the next time of all schedules is known after a pass', () => {
  const book = bookOf(scheduleOf('0 0 * * *'), scheduleOf('5 12 * * *'), scheduleOf('0 0 30 2 *'));
  book.due(startMs);
  expect(book.nextDueMs(startMs)).toBe(Date.UTC(2030, 0, 1, 12, 5));
});

test('what cannot be published for long is bounded: the latest are kept', () => {
  const book = bookOf(scheduleOf('* * * * * *', startMs, { settledUntilMs: startMs - 1 }));
  const givenUp: number[] = [];
  const pass = (second: number) => {
    const { firings, givenUp: times } = book.due(startMs + second * 1_000);
    givenUp.push(...times.map(({ scheduledAtMs }) => (scheduledAtMs - startMs) / 1_000));
    return firings;
  };
  for (let second = 0; second < 300; second += 50) pass(second);
  const firings = pass(300);
  expect(firings).toHaveLength(100);
  expect(firings.at(-1)!.scheduledAtMs).toBe(startMs + 300_000);
  expect(givenUp).toEqual(Array.from({ length: 201 }, (_, second) => second));
});

describe('what was missed while no replica was there', () => {
  const missedFor = (settledMs: number, trigger: Partial<Schedule['trigger']> = {}) => {
    const schedule = scheduleOf('* * * * *', 0, { settledUntilMs: startMs - settledMs });
    return bookOf({ ...schedule, trigger: { ...schedule.trigger, ...trigger } }).due(startMs);
  };

  test('comes up within the window, an hour by default, and what is older is given up', () => {
    const { firings, givenUp } = missedFor(90 * minuteMs);
    expect(firings).toHaveLength(60);
    expect(firings[0]!.scheduledAtMs).toBe(startMs - 59.5 * minuteMs);
    expect(givenUp).toHaveLength(30);
    expect(givenUp.at(-1)!.scheduledAtMs).toBe(startMs - 60.5 * minuteMs);
  });

  test('is all of it when the window is long enough, at most 100 times', () => {
    expect(missedFor(90 * minuteMs, { catchUpMs: 86_400_000 })).toMatchObject({ givenUp: [] });
    const { firings, givenUp } = missedFor(150 * minuteMs, { catchUpMs: 86_400_000 });
    expect(firings).toHaveLength(100);
    expect(firings.at(-1)!.scheduledAtMs).toBe(startMs - 0.5 * minuteMs);
    expect(givenUp).toHaveLength(50);
  });

  test('is the latest of very many, without going through all of them', () => {
    const schedule = scheduleOf('* * * * * *', 0, { settledUntilMs: startMs - 2 * 86_400_000 });
    const book = bookOf({ ...schedule, trigger: { ...schedule.trigger, catchUpMs: 2_592_000_000 } });
    const { firings, givenUp } = book.due(startMs);
    expect(firings).toHaveLength(100);
    expect(firings.at(-1)!.scheduledAtMs).toBe(startMs);
    expect(givenUp.length).toBeLessThan(20_000);
  });

  test('comes up with the minute and a half before the last that was settled', () => {
    expect(missedFor(0).firings).toHaveLength(1);
    const lookedBackAt = missedFor(5 * minuteMs).firings.map((firing) => firing.isLookedBackAt);
    expect(lookedBackAt).toEqual([true, false, false, false, false, false]);
    const jittered = missedFor(5 * minuteMs, { jitterMs: 2 * minuteMs });
    expect(jittered.firings.filter((firing) => firing.isLookedBackAt)).toHaveLength(3);
  });

  test('is fired or given up, each time once, whatever the window', () => {
    const windows = fc.integer({ min: 10_000, max: 7_200_000 });
    const outages = fc.integer({ min: 90_000, max: 10_000_000 });
    fc.assert(
      fc.property(windows, outages, (catchUpMs, outageMs) => {
        const { firings, givenUp } = missedFor(outageMs, { catchUpMs });
        const settledUntilMs = startMs - outageMs;
        const times = [...givenUp, ...firings]
          .map(({ scheduledAtMs }) => scheduledAtMs)
          .filter((time) => time > settledUntilMs);
        const first = Math.floor((startMs - outageMs) / minuteMs) + 1;
        const last = Math.floor(startMs / minuteMs);
        const expected = Array.from({ length: last - first + 1 }, (_, index) => (first + index) * minuteMs);
        expect(times).toEqual(expected);
        for (const { scheduledAtMs } of firings) expect(scheduledAtMs).toBeGreaterThan(startMs - catchUpMs);
      }),
      { numRuns: 30 },
    );
  });
});

test('an open time is given up once it is too late', () => {
  const schedule = scheduleOf('* * * * *', startMs);
  const book = bookOf({ ...schedule, trigger: { ...schedule.trigger, catchUpMs: 10_000 } });
  expect(dueTimes(book, startMs + 39_000)).toEqual(['12:01:00']);
  expect(book.due(startMs + 40_000)).toMatchObject({
    firings: [],
    givenUp: [{ scheduledAtMs: startMs + 30_000 }],
  });
});

test('a paused schedule has no time after it was paused, those before still come up', () => {
  const book = bookOf(scheduleOf('*/10 * * * * *', startMs - 60_000, { pausedAtMs: startMs + 15_000 }));
  settleAll(book, startMs);
  expect(dueTimes(book, startMs + 60_000)).toEqual(['12:00:40']);
  expect(book.nextDueMs(startMs + 60_000)).toBeUndefined();
});

test('a schedule that is paused while it is known stops there, and goes on from where it is resumed', () => {
  const book = bookOf(scheduleOf('*/10 * * * * *', startMs));
  settleAll(book, startMs);
  book.replace([scheduleOf('*/10 * * * * *', startMs, { pausedAtMs: startMs + 5_000 })]);
  expect(dueTimes(book, startMs + 30_000)).toEqual([]);
  book.replace([scheduleOf('*/10 * * * * *', startMs + 31_000)]);
  expect(dueTimes(book, startMs + 45_000)).toEqual(['12:01:10']);
});

describe('jitter', () => {
  const jitterMs = 50_000;
  const plain = scheduleOf('* * * * *', startMs);
  const schedule = { ...plain, trigger: { ...plain.trigger, jitterMs } };
  const identity = {
    environmentId: plain.scope.environmentId,
    functionId: 'report',
    trigger: schedule.trigger,
  };

  test('puts a time off by as much as it says, and not a millisecond less', () => {
    const book = bookOf(schedule);
    const timeMs = startMs + 30_000;
    const dueMs = timeMs + jitterOf(identity, timeMs);
    expect(dueTimes(book, timeMs)).toEqual([]);
    expect(book.nextDueMs(timeMs)).toBe(dueMs);
    expect(dueTimes(book, dueMs - 1)).toEqual([]);
    expect(dueTimes(book, dueMs)).toEqual(['12:01:00']);
  });

  test('brings up what it puts off past the moment at which the schedule is resumed', () => {
    const hourMs = 3_600_000;
    const resumed = scheduleOf('0 * * * *', startMs - hourMs, { settledUntilMs: startMs });
    const book = bookOf({ ...resumed, trigger: { ...resumed.trigger, jitterMs: hourMs } });
    expect(dueTimes(book, startMs)).toEqual([]);
    expect(dueTimes(book, startMs + hourMs)).toContain('12:00:00');
  });

  test('holds back how far all is settled', () => {
    const book = bookOf(schedule);
    const timeMs = startMs + 30_000;
    book.due(timeMs);
    expect(book.settledUntilMs(schedule)).toBe(timeMs - 1);
    settleAll(book, timeMs + jitterMs);
    expect(book.settledUntilMs(schedule)).toBe(timeMs);
  });
});

test('a broken expression is told once a registration and disturbs nobody', () => {
  const book = createScheduleBook(createTimetables());
  const broken = scheduleOf('whenever', 1);
  expect(book.replace([broken, scheduleOf('* * * * *')]).map(({ schedule }) => schedule)).toEqual([broken]);
  expect(book.replace([broken, scheduleOf('* * * * *')])).toEqual([]);
  expect(book.replace([scheduleOf('whenever', 2)])).toHaveLength(1);
  expect(book.size()).toBe(0);
});

test('passes at any moments fire every time since the start exactly once', () => {
  const crons = fc.constantFrom('* * * * * *', '*/7 * * * * *', '* * * * *', '*/2 * * * *');
  // What was due exactly so long ago is past it.
  const pauses = fc.array(fc.integer({ min: 0, max: lookBackMs - 1 }), { minLength: 1, maxLength: 15 });
  fc.assert(
    fc.property(crons, pauses, (cron, pausesMs) => {
      const book = bookOf(scheduleOf(cron, startMs));
      const fired: number[] = [];
      let nowMs = startMs;
      for (const pauseMs of pausesMs) {
        nowMs += pauseMs;
        for (const firing of book.due(nowMs).firings) {
          fired.push(firing.scheduledAtMs);
          book.settle(firing);
        }
      }
      const expected: number[] = [];
      const answer = createTimetables()({ cron, timezone: 'UTC' });
      if (answer.kind === 'invalid') throw new Error(answer.reason);
      let next = answer.timetable.next(startMs - 1);
      while (next !== undefined && next <= nowMs) {
        expected.push(next);
        next = answer.timetable.next(next);
      }
      expect(fired).toEqual(expected);
    }),
    { numRuns: 60 },
  );
});
