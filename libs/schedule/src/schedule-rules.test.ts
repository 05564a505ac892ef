import { expect, test } from '@jest/globals';
import type { CronTrigger } from '@ironflow/schema';
import { brokenScheduleRule } from './schedule-rules.js';

const nowMs = Date.UTC(2030, 0, 1);
const of = (trigger: Partial<CronTrigger>) =>
  brokenScheduleRule({ cron: '* * * * *', timezone: 'UTC', ...trigger }, nowMs);

test.each<[string, Partial<CronTrigger>, string, RegExp]>([
  ['four fields', { cron: '* * * *' }, 'cron', /5 fields/],
  ['a nickname', { cron: '@daily' }, 'cron', /5 fields/],
  ['an interval that is none', { cron: '@every day' }, 'cron', /30s, 5m, 1h30m/],
  ['an interval of less than a second', { cron: '@every 0s' }, 'cron', /1 second/],
  ['an interval in a timezone', { cron: '@every 1h', timezone: 'Asia/Tokyo' }, 'timezone', /left out/],
  ['a timezone that is none', { timezone: 'Mars/Olympus' }, 'timezone', /IANA/],
  ['a day that never comes', { cron: '0 0 31 2 *' }, 'cron', /fires/],
  ['jitter beyond the next time', { jitterMs: 60_001 }, 'jitterMs', /60000 ms/],
  ['jitter beyond the nearest next time', { cron: '0,5 9 * * *', jitterMs: 300_001 }, 'jitterMs', /300000/],
  ['jitter beyond an interval', { cron: '@every 30s', jitterMs: 30_001 }, 'jitterMs', /30000/],
])('%s is refused, by the name of its field', (_what, trigger, field, rule) => {
  const broken = of(trigger);
  expect(broken?.field).toBe(field);
  expect(broken?.rule).toMatch(rule);
});

test.each<[Partial<CronTrigger>]>([
  [{ cron: '*/5 * * * * *' }],
  [{ cron: '0 0 L * *', timezone: 'Europe/Berlin' }],
  [{ cron: '0 9 * * MON#1' }],
  [{ cron: '@every 1h30m' }],
  [{ cron: '@every 30s', jitterMs: 30_000 }],
  [{ jitterMs: 60_000 }],
  [{ cron: '0 0 29 2 *', jitterMs: 3_600_000 }],
])('%j is fine', (trigger) => expect(of(trigger)).toBeUndefined());
