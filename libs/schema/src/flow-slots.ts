/**
 * How what runs wait for is called: slots of flow control by their rule, whose they are, and the key that they are counted under;
 * a pause by its function; workers by their lane. Pure.
 */
import { createHash } from 'node:crypto';
import type { Concurrency } from './flow-control.js';
import { laneToken, parseLane } from './lane.js';
import type { Lane } from './lane.js';

/** Functions of an environment share the slots of rules with the same expression. */
export function concurrencySlotPrefix(
  functionId: string,
  { scope, key }: Pick<Concurrency, 'scope' | 'key'>,
): string {
  const expressionHash = createHash('sha256')
    .update(key ?? '')
    .digest('hex')
    .slice(0, 8);
  return `concurrency:${scope === 'env' ? '*' : functionId}:${expressionHash}:`;
}

export function singletonSlotPrefix(functionId: string): string {
  return `singleton:${functionId}:`;
}

export interface Slot {
  rule: 'concurrency' | 'singleton';
  scope: Concurrency['scope'];
  /** The name without its key. */
  prefix: string;
  /** Empty where the event gave none. */
  key: string;
}

const concurrencySlot = /^(concurrency:([^:]*):[^:]*:)(.*)$/s;
const singletonSlot = /^(singleton:[^:]*:)(.*)$/s;

export function parseSlot(name: string): Slot | undefined {
  const [, prefix, owner, key] = concurrencySlot.exec(name) ?? [];
  if (prefix !== undefined) {
    return { rule: 'concurrency', scope: owner === '*' ? 'env' : 'function', prefix, key: key! };
  }
  const [, ofFunction, ownKey] = singletonSlot.exec(name) ?? [];
  return ofFunction === undefined
    ? undefined
    : { rule: 'singleton', scope: 'function', prefix: ofFunction, key: ownKey! };
}

export type Obstacle =
  | Slot
  /** By itself, or with its environment. */
  | { rule: 'paused'; functionId: string }
  /** Nobody is there who serves it. */
  | { rule: 'worker'; lane: Lane };

export function pausedObstacle(functionId: string): string {
  return `paused:${functionId}`;
}

export function workerObstacle(lane: Lane): string {
  return `worker:${laneToken(lane)}`;
}

export function parseObstacle(name: string): Obstacle | undefined {
  const [rule, of = ''] = name.split(':', 2);
  if (rule === 'paused') return { rule, functionId: of };
  if (rule !== 'worker') return parseSlot(name);
  const lane = parseLane(of);
  return lane && { rule, lane };
}
