/** Our times beside those of another library. Where the two differ, a table says which is right, and why. */
import { describe, expect, test } from '@jest/globals';
import { CronExpressionParser } from 'cron-parser';
import fc from 'fast-check';
import { createTimetables, timesIn } from './timetable.js';

const timetables = createTimetables();

function ours(cron: string, timezone: string, from: string, to: string): string[] {
  const answer = timetables({ cron, timezone });
  if (answer.kind === 'invalid') throw new Error(answer.reason);
  const span = { fromMs: Date.parse(from) - 1, toMs: Date.parse(to) };
  return timesIn(answer.timetable, span, 10_000).times.map((time) => new Date(time).toISOString());
}

function theirs(cron: string, timezone: string, from: string, to: string): string[] {
  const iterator = CronExpressionParser.parse(cron, {
    currentDate: new Date(Date.parse(from) - 1),
    endDate: new Date(to),
    tz: timezone,
  });
  const times: string[] = [];
  while (iterator.hasNext()) times.push(iterator.next().toDate().toISOString());
  return times;
}

const zones = ['UTC', 'Europe/Berlin', 'America/New_York', 'Australia/Lord_Howe', 'Asia/Kathmandu'];

describe('away from the days on which clocks are set', () => {
  const minute = fc.constantFrom('*', '0', '7', '*/15', '5-20/5', '3,33');
  const hour = fc.constantFrom('*', '0', '4', '*/6', '9-17', '23');
  const second = fc.constantFrom('', '0 ', '*/20 ', '59 ');
  const days = fc.constantFrom(
    '* * *',
    '1 * *',
    'L * *',
    '29 2 *',
    '31 * *',
    '* */3 *',
    '* * MON-FRI',
    '* * 0',
    '* * 7',
    '* * MON#1',
    '* * FRI#2',
    '15 * WED',
    '* JAN,JUL SUN',
  );
  /** Weeks in which none of the zones sets its clocks: turns of the year, a leap day, ends of months. */
  const weeks = fc.constantFrom('2027-12-28', '2028-02-25', '2030-01-28', '2030-05-28', '2032-02-26');

  test('both have the same times', () => {
    let compared = 0;
    fc.assert(
      fc.property(second, minute, hour, days, fc.constantFrom(...zones), weeks, (s, m, h, d, zone, week) => {
        const cron = `${s}${m} ${h} ${d}`;
        const from = `${week}T00:00:00.000Z`;
        const to = new Date(Date.parse(from) + 6 * 86_400_000).toISOString();
        const times = ours(cron, zone, from, to);
        if (times.length >= 5_000) return;
        compared += times.length;
        expect(times).toEqual(theirs(cron, zone, from, to));
      }),
      { numRuns: 100 },
    );
    expect(compared).toBeGreaterThan(1_000);
  });
});

/** `theirs` only where it differs. */
const changes: {
  what: string;
  zone: string;
  cron: string;
  from: string;
  to: string;
  expected: string[];
  theirs?: { times: string[]; why: string };
}[] = [
  {
    what: 'a time that is skipped in spring',
    zone: 'Europe/Berlin',
    cron: '30 2 * * *',
    from: '2030-03-31T00:00:00.000Z',
    to: '2030-04-01T00:00:00.000Z',
    expected: ['2030-03-31T01:00:00.000Z'],
    theirs: {
      times: ['2030-03-31T01:30:00.000Z'],
      why: 'moves it by the hour that is missing; we fire it as soon as the clocks are past it, as cron(8) does',
    },
  },
  {
    what: 'a time that is skipped in spring, elsewhere',
    zone: 'America/New_York',
    cron: '30 2 * * *',
    from: '2030-03-10T05:00:00.000Z',
    to: '2030-03-11T05:00:00.000Z',
    expected: ['2030-03-10T07:00:00.000Z'],
    theirs: { times: ['2030-03-10T07:30:00.000Z'], why: 'as above' },
  },
  {
    what: 'an hour with a step that spring skips',
    zone: 'Europe/Berlin',
    cron: '0 */2 * * *',
    from: '2030-03-30T23:00:00.000Z',
    to: '2030-03-31T04:00:00.000Z',
    expected: ['2030-03-30T23:00:00.000Z', '2030-03-31T02:00:00.000Z', '2030-03-31T04:00:00.000Z'],
    theirs: {
      times: [
        '2030-03-30T23:00:00.000Z',
        '2030-03-31T01:00:00.000Z',
        '2030-03-31T02:00:00.000Z',
        '2030-03-31T04:00:00.000Z',
      ],
      why: 'fires 02:00, which does not exist, at 03:00: a pace of two hours has no time there, and the next is an hour later',
    },
  },
  {
    what: 'a time that autumn has twice comes once, the first time',
    zone: 'America/New_York',
    cron: '30 1 * * *',
    from: '2030-11-03T04:00:00.000Z',
    to: '2030-11-04T04:00:00.000Z',
    expected: ['2030-11-03T05:30:00.000Z'],
  },
  {
    what: 'every hour keeps its pace in autumn',
    zone: 'Europe/Berlin',
    cron: '0 * * * *',
    from: '2030-10-26T23:00:00.000Z',
    to: '2030-10-27T02:00:00.000Z',
    expected: [
      '2030-10-26T23:00:00.000Z',
      '2030-10-27T00:00:00.000Z',
      '2030-10-27T01:00:00.000Z',
      '2030-10-27T02:00:00.000Z',
    ],
  },
  {
    what: 'the day after a change of half an hour',
    zone: 'Australia/Lord_Howe',
    cron: '0 3 * * *',
    from: '2030-04-06T12:00:00.000Z',
    to: '2030-04-08T12:00:00.000Z',
    expected: ['2030-04-06T16:30:00.000Z', '2030-04-07T16:30:00.000Z'],
    theirs: { times: [], why: 'takes every change for one of an hour, and finds no 03:00 any more' },
  },
  {
    what: 'a time that a change of half an hour skips',
    zone: 'Australia/Lord_Howe',
    cron: '15 2 * * *',
    from: '2030-10-05T12:00:00.000Z',
    to: '2030-10-06T12:00:00.000Z',
    expected: ['2030-10-05T15:30:00.000Z'],
    theirs: { times: [], why: 'as above' },
  },
];

describe('on the days on which clocks are set', () => {
  test.each(changes)('$what ($zone, $cron)', ({ zone, cron, from, to, expected, theirs: differing }) => {
    expect(ours(cron, zone, from, to)).toEqual(expected);
    expect(theirs(cron, zone, from, to)).toEqual(differing?.times ?? expected);
  });
});
