/**
 * A schedule: a cron trigger of a function, and what the event of one of its times says. Its id is that of its function and,
 * after a dot, the trigger's own: as it is given, or a short hash of its times.
 */
import { createHash } from 'node:crypto';
import { z } from 'zod';
import { idLengthMax } from './identifiers.js';
import { limits } from './limits.js';

const nameLengthMax = 64;
const nameRule = `must be 1 to ${nameLengthMax} of A-Z, a-z, 0-9, "_" and "-"`;
const scheduleNameSchema = z.string().regex(new RegExp(`^[A-Za-z0-9_-]{1,${nameLengthMax}}$`), nameRule);

/** The longest a URL's parameter gets. */
export const scheduleIdLengthMax = idLengthMax + 1 + nameLengthMax;
export const scheduleIdSchema = z
  .string()
  .regex(
    new RegExp(`^[A-Za-z0-9_-]{1,${idLengthMax}}\\.[A-Za-z0-9_-]{1,${nameLengthMax}}$`),
    'must be the id of a schedule: that of its function, a dot and that of its trigger',
  );

/** What becomes of a time while a run of an earlier one is under way. */
export const overlapSchema = z.enum(['allow', 'skip', 'queue', 'cancel']);
export type Overlap = z.infer<typeof overlapSchema>;

export const cronTriggerSchema = z.strictObject({
  /** 5 or 6 fields (with seconds), or `@every` and a duration such as `90s` or `1h30m`. */
  cron: z.string().min(1).max(256),
  /** IANA name. */
  timezone: z.string().max(64).default('UTC'),
  /** Names the schedule within its function, also when its times change. */
  id: scheduleNameSchema.optional(),
  /** Each time is put off by less than this, by as much wherever that is worked out. */
  jitterMs: z.number().int().min(1).max(limits.scheduleJitterMsMax).optional(),
  overlap: overlapSchema.optional(),
  /** A time that could not be fired is made up for within this. */
  catchUpMs: z.number().int().min(limits.catchUpMsMin).max(limits.catchUpMsMax).optional(),
});
export type CronTrigger = z.infer<typeof cronTriggerSchema>;

export const catchUpMsDefault = 3_600_000;

/** The same as the column of `schedules` that Postgres makes. */
export function scheduleIdOf(functionId: string, { id, cron, timezone }: CronTrigger): string {
  return `${functionId}.${id ?? createHash('md5').update(`${cron}\n${timezone}`).digest('hex').slice(0, 8)}`;
}

/** Why a time was fired: it came, somebody asked for it over a range of the past, or for one just now. */
export const firingCauses = ['time', 'backfill', 'manual'] as const;
export type FiringCause = (typeof firingCauses)[number];

/** The data of an event of a schedule. */
export const firingDataSchema = z.object({
  cron: z.string(),
  timezone: z.string(),
  /** The time itself, whatever jitter or delay it was fired with. */
  scheduledAt: z.iso.datetime(),
  /** The schedule's id; absent from events of an older version. */
  schedule: z.string().optional(),
  cause: z.enum(firingCauses).optional(),
});
export type FiringData = z.infer<typeof firingDataSchema>;
