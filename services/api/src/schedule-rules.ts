/** What a cron trigger has to satisfy to be registered. Pure, but for looking up the next time. */
import { Cron } from 'croner';
import { messageOf } from '@ironflow/errors';
import type { CronTrigger } from '@ironflow/schema';

export interface BrokenScheduleRule {
  field: 'cron' | 'timezone';
  rule: string;
}

const messageLengthMax = 300;

export function brokenScheduleRule({ cron, timezone }: CronTrigger): BrokenScheduleRule | undefined {
  if (!isTimezone(timezone)) {
    return { field: 'timezone', rule: 'must be an IANA timezone such as "Europe/Berlin"' };
  }
  const fields = cron.trim().split(/\s+/).length;
  if (fields !== 5 && fields !== 6) {
    return { field: 'cron', rule: 'must have 5 fields, or 6 with seconds first' };
  }
  try {
    const schedule = new Cron(cron, { timezone, paused: true, mode: '5-or-6-parts' });
    return schedule.nextRun() === null
      ? { field: 'cron', rule: 'must have a time at which it fires' }
      : undefined;
  } catch (error) {
    const reason = messageOf(error).replace(/^CronPattern: /, '');
    return { field: 'cron', rule: `must be a cron expression: ${reason}`.slice(0, messageLengthMax) };
  }
}

function isTimezone(name: string): boolean {
  try {
    return new Intl.DateTimeFormat('en', { timeZone: name }).resolvedOptions().timeZone !== '';
  } catch {
    return false;
  }
}
