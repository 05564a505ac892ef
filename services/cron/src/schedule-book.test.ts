import { expect, test } from '@jest/globals';
import type { Schedule } from '@ironflow/database';
import fc from 'fast-check';
import { createTimetables } from './firings.js';
import { createScheduleBook, lookBackMs } from './schedule-book.js';
import type { ScheduleBook } from './schedule-book.js';

const startMs = Date.UTC(2030, 0, 1, 12, 0, 30);
const minuteMs = 60_000;

function scheduleOf(cron: string, registeredAtMs = 0): Schedule {
  return {
    scope: { environmentId: '0190a000-0000-7000-8000-000000000001', project: 'shop', env: 'prod' },
    functionId: 'report',
    trigger: { cron, timezone: 'UTC' },
    registeredAtMs,
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

test('a schedule that was registered anew begins at that moment', () => {
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
  expect(book.nextDueMs()).toBeUndefined();
});

test('after looking back again the settled times of the recent past come up once more', () => {
  const book = bookOf(scheduleOf('* * * * *', startMs - minuteMs));
  settleAll(book, startMs);
  book.lookBackAgain();
  expect(dueTimes(book, startMs)).toEqual(['12:00:00']);
});

test('the next time of all schedules is known after a pass', () => {
  const book = bookOf(scheduleOf('0 0 * * *'), scheduleOf('5 12 * * *'), scheduleOf('0 0 30 2 *'));
  book.due(startMs);
  expect(book.nextDueMs()).toBe(Date.UTC(2030, 0, 1, 12, 5));
});

test('what cannot be published for long is bounded, and what gives way is counted', () => {
  const book = bookOf(scheduleOf('* * * * * *'));
  let givenUp = 0;
  for (let second = 0; second < 300; second += 50) givenUp += book.due(startMs + second * 1_000).givenUp;
  const last = book.due(startMs + 300_000);
  expect(last.firings).toHaveLength(100);
  expect(last.firings.at(-1)!.scheduledAtMs).toBe(startMs + 300_000);
  // 90 of the past and 300 since.
  expect(givenUp + last.givenUp).toBe(290);
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
  const pauses = fc.array(fc.integer({ min: 0, max: lookBackMs }), { minLength: 1, maxLength: 15 });
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
    { numRuns: 200 },
  );
});
