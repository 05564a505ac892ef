/**
 * What becomes of the run of a schedule's time while a run of an earlier one is under way, as a rule of flow control: a singleton
 * under a key of the schedule. Runs that somebody asked for by hand, or that fill a gap, count among them. Pure.
 */
import { firingDataSchema, isCronTrigger, scheduleIdOf, systemEventNames } from '@ironflow/schema';
import type { CronTrigger, FunctionConfig, Overlap, StoredEvent } from '@ironflow/schema';

export interface OverlapRule {
  mode: Exclude<Overlap, 'allow'>;
  /** Of the runs of one schedule. */
  key: string;
}

/** Why the run of a time was skipped. */
export const overlapSkipReason = 'schedule_overlap' as const;

/** `undefined`: its runs do not know of one another. */
export function overlapOf(functionId: string, trigger: CronTrigger): OverlapRule | undefined {
  const { overlap = 'allow' } = trigger;
  return overlap === 'allow' ? undefined : { mode: overlap, key: scheduleIdOf(functionId, trigger) };
}

/** The trigger of the function whose time an event is; none for other events, and for a schedule that is no more. */
export function triggerOfFiring(
  event: Pick<StoredEvent, 'name' | 'data'>,
  { id, triggers }: Pick<FunctionConfig, 'id' | 'triggers'>,
): CronTrigger | undefined {
  if (event.name !== systemEventNames.cron(id)) return undefined;
  const schedules = triggers.filter(isCronTrigger);
  if (schedules.every(({ overlap = 'allow' }) => overlap === 'allow')) return undefined;
  const { success, data } = firingDataSchema.safeParse(JSON.parse(event.data));
  if (!success) return undefined;
  return schedules.find(({ cron, timezone }) => cron === data.cron && timezone === data.timezone);
}
