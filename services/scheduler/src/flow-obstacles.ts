/** Which of the obstacles that lanes wait for stand no more, decided by the rules in force. Pure. */
import { concurrencySlotPrefix, parseObstacle, singletonSlotPrefix } from '@ironflow/schema';
import type { FlowControl, Lane } from '@ironflow/schema';

export interface ObstaclesInput {
  names: readonly string[];
  configs: ReadonlyMap<string, FlowControl>;
  /** Slots in use. */
  usage: ReadonlyMap<string, number>;
  isPaused: (functionId: string) => boolean;
  isServed: (lane: Lane) => boolean;
}

/** What nobody knows any more keeps nobody back. */
export function obstaclesGone({ names, ...input }: ObstaclesInput): string[] {
  const limits = slotLimits(input.configs);
  return names.filter((name) => {
    const obstacle = parseObstacle(name);
    if (obstacle === undefined) return true;
    if (obstacle.rule === 'paused') return !input.isPaused(obstacle.functionId);
    if (obstacle.rule === 'worker') return input.isServed(obstacle.lane);
    const limit = limits.get(obstacle.prefix);
    return limit === undefined || (input.usage.get(name) ?? 0) < limit;
  });
}

/** By what names of slots begin with; of functions that share slots the highest. */
function slotLimits(configs: ReadonlyMap<string, FlowControl>): Map<string, number> {
  const limits = new Map<string, number>();
  for (const [functionId, { concurrency = [] }] of configs) {
    // A schedule may have one where its function has none.
    limits.set(singletonSlotPrefix(functionId), 1);
    for (const rule of concurrency) {
      const prefix = concurrencySlotPrefix(functionId, rule);
      limits.set(prefix, Math.max(rule.limit, limits.get(prefix) ?? 0));
    }
  }
  return limits;
}
