/**
 * A firing: one time of one schedule. Whoever works it out makes the same event of it, with the same id, delay and data. Pure.
 */
import { createHash } from 'node:crypto';
import { deriveFiringEventId, scheduleIdOf } from '@ironflow/schema';
import type { CronTrigger, FiringCause, FiringData } from '@ironflow/schema';

export interface ScheduleOfFunction {
  environmentId: string;
  functionId: string;
  trigger: CronTrigger;
}

/** Follows from the times alone: a schedule of another name or with other options fires none of them a second time. */
export function firingEventId(
  { environmentId, functionId, trigger }: ScheduleOfFunction,
  scheduledAtMs: number,
): string {
  const schedule = `${trigger.cron} ${trigger.timezone}`;
  return deriveFiringEventId({ environmentId, functionId, schedule, scheduledAtMs });
}

/** By how much a time is put off: anything from 0 to less than its schedule's jitter. */
export function jitterOf(schedule: ScheduleOfFunction, scheduledAtMs: number): number {
  const { jitterMs } = schedule.trigger;
  if (jitterMs === undefined) return 0;
  const digest = createHash('sha256')
    .update(`jitter\n${firingEventId(schedule, scheduledAtMs)}`)
    .digest();
  return Math.floor((digest.readUInt32BE(0) / 2 ** 32) * jitterMs);
}

/** `scheduledAtMs` of one that was asked for just now is the moment at which it was. */
export function firingData(
  { functionId, trigger }: Omit<ScheduleOfFunction, 'environmentId'>,
  { scheduledAtMs, cause }: { scheduledAtMs: number; cause: FiringCause },
): FiringData {
  return {
    cron: trigger.cron,
    timezone: trigger.timezone,
    scheduledAt: new Date(scheduledAtMs).toISOString(),
    schedule: scheduleIdOf(functionId, trigger),
    cause,
  };
}
