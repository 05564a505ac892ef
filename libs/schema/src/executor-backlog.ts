/** What executors have before them, as the scheduler tells those that decide how many there should be. */
import { z } from 'zod';

/** Beside `/metrics`, on the same port and for the same readers. */
export const backlogPath = '/backlog';

const count = z.number().int().nonnegative();

export const executorBacklogSchema = z.object({
  /** Activations that wait, and that one more executor would help with. */
  backlog: count,
  /** Activations being driven. */
  active: count,
  /** Executors that answer now. */
  executors: count,
  /** The backlog's share of each of them; all of it while there is none. */
  perExecutor: z.number().nonnegative(),
});
export type ExecutorBacklog = z.infer<typeof executorBacklogSchema>;
