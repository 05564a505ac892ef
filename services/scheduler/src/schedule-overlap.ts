/**
 * What becomes of the run of a schedule's time while a run of an earlier one is under way, as a rule of flow control: a singleton
 * under a key of the schedule. Runs that somebody asked for by hand count among them; those of a backfill wait for one another. Pure.
 */
import { firingDataSchema, isCronTrigger, scheduleIdOf, systemEventNames } from '@ironflow/schema';
import type { FunctionConfig, Overlap, StoredEvent } from '@ironflow/schema';

export interface OverlapRule {
  mode: Exclude<Overlap, 'allow'>;
  /** Of the runs of one schedule. */
  key: string;
}

/** Why the run of a time was skipped. */
export const overlapSkipReason = 'schedule_overlap' as const;

/** `undefined`: its run does not know of others. So it is for events that are no schedule's, and for a schedule that is no more. */
export function overlapOf(
  event: Pick<StoredEvent, 'name' | 'data'>,
  { id: functionId, triggers }: Pick<FunctionConfig, 'id' | 'triggers'>,
): OverlapRule | undefined {
  if (event.name !== systemEventNames.cron(functionId)) return undefined;
  const schedules = triggers.filter(isCronTrigger);
  if (schedules.every(({ overlap = 'allow' }) => overlap === 'allow')) return undefined;
  const { success, data } = firingDataSchema.safeParse(JSON.parse(event.data));
  if (!success) return undefined;
  const trigger = schedules.find(({ cron, timezone }) => cron === data.cron && timezone === data.timezone);
  const { overlap = 'allow' } = trigger ?? {};
  if (trigger === undefined || overlap === 'allow') return undefined;
  // A range comes all at once, and each of its times was asked for.
  return { mode: data.cause === 'backfill' ? 'queue' : overlap, key: scheduleIdOf(functionId, trigger) };
}
