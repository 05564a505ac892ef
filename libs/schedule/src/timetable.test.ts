import { describe, expect, test } from '@jest/globals';
import { Cron } from 'croner';
import fc from 'fast-check';
import { createTimetables, timesIn } from './timetable.js';
import type { Timetable } from './timetable.js';

const timetables = createTimetables();

function timetableOf(cron: string, timezone = 'UTC'): Timetable {
  const answer = timetables({ cron, timezone });
  if (answer.kind === 'invalid') throw new Error(answer.reason);
  return answer.timetable;
}

function isoTimesIn(cron: string, timezone: string, from: string, to: string): string[] {
  const span = { fromMs: Date.parse(from), toMs: Date.parse(to) };
  return timesIn(timetableOf(cron, timezone), span, 1_000).times.map((timeMs) =>
    new Date(timeMs).toISOString(),
  );
}

describe('a time', () => {
  test('belongs to the span that ends with it and not to the one that begins with it', () => {
    const times = isoTimesIn('*/5 * * * *', 'UTC', '2030-01-01T00:00:00Z', '2030-01-01T00:10:00Z');
    expect(times).toEqual(['2030-01-01T00:05:00.000Z', '2030-01-01T00:10:00.000Z']);
  });

  test('of an expression with seconds is found between milliseconds', () => {
    const times = isoTimesIn('*/2 * * * * *', 'UTC', '2030-01-01T00:00:01.999Z', '2030-01-01T00:00:04.001Z');
    expect(times).toEqual(['2030-01-01T00:00:02.000Z', '2030-01-01T00:00:04.000Z']);
  });

  test('on a leap day comes every four years', () => {
    const times = isoTimesIn('0 12 29 2 *', 'UTC', '2027-01-01T00:00:00Z', '2037-01-01T00:00:00Z');
    expect(times).toEqual([
      '2028-02-29T12:00:00.000Z',
      '2032-02-29T12:00:00.000Z',
      '2036-02-29T12:00:00.000Z',
    ]);
  });

  test('that the clocks skip in spring comes once, right after', () => {
    const berlin = isoTimesIn('30 2 * * *', 'Europe/Berlin', '2030-03-30T12:00:00Z', '2030-04-01T12:00:00Z');
    expect(berlin).toEqual(['2030-03-31T01:00:00.000Z', '2030-04-01T00:30:00.000Z']);
  });

  test('that the clocks show twice in autumn comes once, and an interval keeps its pace', () => {
    const span = ['2030-10-26T12:00:00Z', '2030-10-27T12:00:00Z'] as const;
    expect(isoTimesIn('30 2 * * *', 'Europe/Berlin', ...span)).toEqual(['2030-10-27T00:30:00.000Z']);
    const hourly = isoTimesIn('0 * * * *', 'Europe/Berlin', ...span);
    expect(hourly).toHaveLength(24);
  });

  test('is given back at most as often as asked for, and the next one is named', () => {
    const fromMs = Date.parse('2030-01-01T00:00:00Z');
    const { times, nextMs } = timesIn(timetableOf('* * * * * *'), { fromMs, toMs: fromMs + 60_000 }, 10);
    expect(times).toHaveLength(10);
    expect(nextMs).toBe(fromMs + 11_000);
  });

  test('of a date that does not exist never comes', () => {
    const { times, nextMs } = timesIn(timetableOf('0 0 30 2 *'), { fromMs: 0, toMs: 4e12 }, 10);
    expect(times).toEqual([]);
    expect(nextMs).toBeUndefined();
  });
});

describe('spans that follow one another', () => {
  const expressions = [
    '* * * * *',
    '*/15 * * * *',
    '30 2 * * *',
    '0 0,2,3 * * *',
    '*/20 1-3 * * *',
    '15 1-3 * * SUN',
    '0 12 29 2 *',
    '0 0 L * *',
    '*/10 * * * * *',
    '7 30 2 * * *',
    '59 59 23 31 12 *',
    '0 9 * * MON#1',
  ];
  /** Three days around what is special in each zone. */
  const moments = [
    { timezone: 'Europe/Berlin', around: '2030-03-31T01:00:00Z' },
    { timezone: 'Europe/Berlin', around: '2030-10-27T01:00:00Z' },
    { timezone: 'America/New_York', around: '2030-03-10T07:00:00Z' },
    { timezone: 'America/New_York', around: '2030-11-03T06:00:00Z' },
    { timezone: 'Australia/Lord_Howe', around: '2030-04-06T15:00:00Z' },
    { timezone: 'Australia/Lord_Howe', around: '2030-10-05T15:30:00Z' },
    { timezone: 'UTC', around: '2032-02-29T12:00:00Z' },
    { timezone: 'Asia/Kathmandu', around: '2031-12-31T18:15:00Z' },
  ];
  const hourMs = 3_600_000;

  test('hold every time that croner enumerates, exactly once, wherever they are cut', () => {
    let compared = 0;
    fc.assert(
      fc.property(
        fc.constantFrom(...expressions),
        fc.constantFrom(...moments),
        fc.integer({ min: -6 * hourMs, max: 2 * hourMs }),
        fc.array(fc.integer({ min: 1, max: hourMs }), { minLength: 1, maxLength: 8 }),
        (cron, { timezone, around }, offsetMs, lengths) => {
          const startMs = Date.parse(around) + offsetMs;
          const found: number[] = [];
          let fromMs = startMs;
          for (const length of lengths) {
            found.push(
              ...timesIn(timetableOf(cron, timezone), { fromMs, toMs: fromMs + length }, 100_000).times,
            );
            fromMs += length;
          }
          const expected = enumerate(cron, timezone, startMs, fromMs);
          compared += expected.length;
          expect(found).toEqual(expected);
        },
      ),
      { numRuns: 150 },
    );
    expect(compared).toBeGreaterThan(1_000);
  });

  function enumerate(cron: string, timezone: string, fromMs: number, toMs: number): number[] {
    const times: number[] = [];
    for (const time of new Cron(cron, { timezone }).enumerate(new Date(fromMs))) {
      if (time.getTime() > toMs) break;
      times.push(time.getTime());
    }
    return times;
  }
});

describe('an interval', () => {
  const everyMs = (duration: string): number => timetableOf(`@every ${duration}`).next(0)!;

  test.each([
    ['30s', 30_000],
    ['90s', 90_000],
    ['5m', 300_000],
    ['1h30m', 5_400_000],
    ['2d', 172_800_000],
    ['1d2h3m4s', 93_784_000],
  ])('@every %s is %i ms', (duration, ms) => expect(everyMs(duration)).toBe(ms));

  test.each(['', '30', '0s', '500ms', '1.5h', '30m1h', '1h 30m', 'day', '367d', '-5s'])(
    '@every %s is refused',
    (duration) => expect(timetables({ cron: `@every ${duration}`, timezone: 'UTC' }).kind).toBe('invalid'),
  );

  test('has its times at multiples of it since 1970, wherever one begins to ask', () => {
    const seconds = fc.integer({ min: 1, max: 86_400 });
    const from = fc.integer({ min: 0, max: 4_000_000_000_000 });
    fc.assert(
      fc.property(seconds, from, (every, fromMs) => {
        const next = timetableOf(`@every ${every}s`).next(fromMs)!;
        expect(next % (every * 1_000)).toBe(0);
        expect(next - fromMs).toBeGreaterThan(0);
        expect(next - fromMs).toBeLessThanOrEqual(every * 1_000);
      }),
    );
  });
});

describe('a timetable', () => {
  test('of an expression or a timezone that is none says why instead of throwing', () => {
    expect(timetables({ cron: 'every now and then', timezone: 'UTC' }).kind).toBe('invalid');
    expect(timetables({ cron: '* * * * *', timezone: 'Mars/Olympus' }).kind).toBe('invalid');
    expect(timetables({ cron: '0 0 0 1 1 * 2030', timezone: 'UTC' }).kind).toBe('invalid');
  });

  test('is made once for all who share it', () => {
    expect(timetableOf('0 0 * * *', 'Asia/Tokyo')).toBe(timetableOf('0 0 * * *', 'Asia/Tokyo'));
  });
});
