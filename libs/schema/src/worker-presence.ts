/** That an executor holds sockets of workers that serve a lane: the value of a key in SYS_workers. */
import { z } from 'zod';
import { laneToken } from './lane.js';

export const workerPresenceSchema = z.object({
  environmentId: z.string(),
  appId: z.string(),
  /** Of the lane of a build. */
  buildId: z.string().optional(),
  executor: z.string(),
  /** Slots of all its workers of that lane that take runs, free or not. */
  slots: z.number().int().nonnegative(),
});
export type WorkerPresence = z.infer<typeof workerPresenceSchema>;

export function workerPresenceKey(of: Omit<WorkerPresence, 'slots'>): string {
  return `${of.environmentId}.${laneToken(of)}.${of.executor}`;
}
