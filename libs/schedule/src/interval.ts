/**
 * `@every 90s`: a time whenever so much more has passed since 1970, the same for everybody and whenever it was registered.
 * Whole seconds, in days, hours, minutes and seconds in that order. Pure.
 */
export type IntervalAnswer =
  { kind: 'interval'; ms: number } | { kind: 'invalid'; reason: string } | { kind: 'none' };

const prefix = '@every';
const durationPattern = /^(?:(\d{1,3})d)?(?:(\d{1,6})h)?(?:(\d{1,8})m)?(?:(\d{1,9})s)?$/;
const unitsMs = [86_400_000, 3_600_000, 60_000, 1_000];
const yearMs = 366 * 86_400_000;

/** `none`: it is an expression of another kind. */
export function parseInterval(cron: string): IntervalAnswer {
  const [keyword, duration = '', ...rest] = cron.trim().split(/\s+/);
  if (keyword !== prefix) return { kind: 'none' };
  const parts = rest.length > 0 ? null : durationPattern.exec(duration);
  const amounts = parts?.slice(1) ?? [];
  if (duration === '' || amounts.every((amount) => amount === undefined)) {
    return { kind: 'invalid', reason: '@every takes a duration such as 30s, 5m, 1h30m or 2d' };
  }
  const ms = amounts.reduce((sum, amount, index) => sum + Number(amount ?? 0) * unitsMs[index]!, 0);
  if (ms < 1_000 || ms > yearMs) return { kind: 'invalid', reason: '@every takes 1 second to 366 days' };
  return { kind: 'interval', ms };
}
