/** How slots of flow control are called: by their rule, whose they are, and the key that they are counted under. Pure. */
import { createHash } from 'node:crypto';
import type { Concurrency } from './flow-control.js';

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
