/**
 * Lines that the `logger` of a handler wrote: as an SDK sends them, and as the HTTP API shows them. They are kept as well as can be, and no
 * record that a run waits for.
 */
import { z } from 'zod';
import { uuidSchema } from './identifiers.js';
import { limits } from './limits.js';
import { stepIdSchema } from './step.js';
import { utf8Text } from './utf8-text.js';

/** From what is said by the way to what is wrong. */
export const logLevels = ['debug', 'info', 'warn', 'error'] as const;
export type LogLevel = (typeof logLevels)[number];

/** That level and those above it. */
export function levelsFrom(level: LogLevel): readonly LogLevel[] {
  return logLevels.slice(logLevels.indexOf(level));
}

/** The end of the year 9999: what is later has no ISO 8601 text of the usual form. */
const timeMsMax = 253_402_300_799_999;
/** Postgres keeps it as an `integer`. */
const attemptMax = 2 ** 31 - 1;

export const loggedLineSchema = z.object({
  /** Of the lines of its call, from 0: one that comes twice is stored once. */
  sequence: z.number().int().nonnegative().max(limits.logLinesPerCallMax),
  atMs: z.number().int().nonnegative().max(timeMsMax),
  level: z.enum(logLevels),
  message: utf8Text(limits.logMessageBytesMax),
  /** JSON text. */
  fields: utf8Text(limits.logFieldsBytesMax).optional(),
  /** The attempt that it was written in. */
  step: z.object({ id: stepIdSchema, attempt: z.number().int().min(1).max(attemptMax) }).optional(),
});
export type LoggedLine = z.infer<typeof loggedLineSchema>;

/** Of one call at most: the last of so many says that there were more. */
export const loggedLinesSchema = z.array(loggedLineSchema).max(limits.logLinesPerCallMax + 1);

export const runLogLineSchema = z.object({
  id: uuidSchema.describe('its place among the lines of its run: larger ones were written later'),
  at: z.iso.datetime().describe('by the clock of the process that wrote it'),
  level: z.enum(logLevels),
  message: z.string(),
  fields: z.unknown().optional().describe('any JSON'),
  step: z
    .object({ id: z.string(), attempt: z.number().int() })
    .optional()
    .describe('the attempt of a step that wrote it; absent for the function itself'),
});
export type RunLogLine = z.infer<typeof runLogLineSchema>;

export const runLogsQuerySchema = z.strictObject({
  limit: z.coerce.number().int().min(1).max(limits.logLinesPerPageMax).default(100),
  cursor: z
    .string()
    .max(64)
    .optional()
    .describe('`nextCursor` of the page before, or the id of the line to go on behind'),
  level: z.enum(logLevels).optional().describe('that level and those above it'),
  step: stepIdSchema.optional().describe('only lines of the attempts of this step'),
});
export type RunLogsQuery = z.infer<typeof runLogsQuerySchema>;

export const runLogsPageSchema = z.object({
  lines: z.array(runLogLineSchema),
  nextCursor: z.string().optional(),
  ended: z.boolean().describe('the run has ended: what comes now was on its way'),
});
export type RunLogsPage = z.infer<typeof runLogsPageSchema>;
