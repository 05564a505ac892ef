/** The states of a run; drawn in docs/lifecycle.md. */
import { z } from 'zod';

export const runStatuses = [
  'queued',
  'running',
  'waiting',
  'waiting_for_worker',
  'completed',
  'failed',
  'cancelled',
  'skipped',
] as const;
export const runStatusSchema = z.enum(runStatuses);
export type RunStatus = z.infer<typeof runStatusSchema>;

/** The `skipReason` of a run that had not begun when it was to. */
export const startDeadline = 'start_deadline';

const terminal: ReadonlySet<RunStatus> = new Set(['completed', 'failed', 'cancelled', 'skipped']);

/** A terminal state is final (I5). */
export function isTerminal(status: RunStatus): boolean {
  return terminal.has(status);
}
