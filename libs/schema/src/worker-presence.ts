/** That an executor holds sockets of an app's workers: the value of a key in SYS_workers. */
import { z } from 'zod';

export const workerPresenceSchema = z.object({
  environmentId: z.string(),
  appId: z.string(),
  executor: z.string(),
  /** Slots of all its workers of that app that take runs, free or not. */
  slots: z.number().int().nonnegative(),
});
export type WorkerPresence = z.infer<typeof workerPresenceSchema>;

export function workerPresenceKey(of: Pick<WorkerPresence, 'environmentId' | 'appId' | 'executor'>): string {
  return `${of.environmentId}.${of.appId}.${of.executor}`;
}
