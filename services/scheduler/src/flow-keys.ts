/**
 * What a run is counted under, as its event gives it when it is routed: one key for each rule of its function. Also how the slots,
 * lanes and states that follow from them are called. Pure.
 *
 * An event without what an expression names has the empty key, which is the same for all of them.
 */
import { createHash } from 'node:crypto';
import type { Concurrency, FlowControl, FlowKeys, StoredEvent } from '@ironflow/schema';
import type { Conditions, ConditionSubject } from './condition.js';

export interface FlowIdentity {
  keys: FlowKeys;
  /** By how much it goes before others. */
  priorityMs: number;
}

export type FlowIdentityAnswer =
  | ({ kind: 'known' } & FlowIdentity)
  /** An expression fails for this event. */
  | { kind: 'refused'; reason: string }
  | { kind: 'undecided' };

export function isFlowControlled(config: FlowControl): boolean {
  return (
    config.idempotency !== undefined ||
    config.rateLimit !== undefined ||
    config.debounce !== undefined ||
    config.batch !== undefined ||
    config.singleton !== undefined ||
    config.throttle !== undefined ||
    config.concurrency !== undefined ||
    config.priority !== undefined
  );
}

/** Somebody asked for this very run, so that no rule about how often events come concerns it. */
const ownRunSources: ReadonlySet<StoredEvent['source']> = new Set(['rerun', 'replay']);

export function identify(
  event: StoredEvent,
  { functionId, config }: { functionId: string; config: FlowControl },
  conditions: Pick<Conditions, 'valueOf'>,
  subject: () => ConditionSubject,
): FlowIdentityAnswer {
  let failure: FlowIdentityAnswer | undefined;
  const valueOf = <Use extends 'key' | 'priority'>(expression: string, use: Use) => {
    const verdict = conditions.valueOf(expression, use, subject());
    if (verdict.kind === 'value') return verdict.value;
    if (verdict.kind === 'undecided') failure = { kind: 'undecided' };
    else if (!verdict.reason.startsWith('no_such_key')) {
      failure ??= { kind: 'refused', reason: `flow_control_error: ${verdict.reason}` };
    }
    return undefined;
  };
  const keyOf = (expression: string | undefined): string =>
    (expression === undefined ? undefined : valueOf(expression, 'key')) ?? '';
  const isOwnRun = ownRunSources.has(event.source);
  const standsAlone = isOwnRun || event.source === 'invoke';
  const { idempotency, rateLimit, debounce, batch, singleton, throttle, concurrency, priority } = config;
  const keys: FlowKeys = {
    ...(idempotency === undefined || isOwnRun ? {} : { idempotency: keyOf(idempotency) }),
    ...(rateLimit === undefined || isOwnRun ? {} : { rateLimit: keyOf(rateLimit.key) }),
    ...(debounce === undefined || standsAlone ? {} : { debounce: keyOf(debounce.key) }),
    ...(batch === undefined || standsAlone ? {} : { batch: keyOf(batch.key) }),
    ...(singleton === undefined ? {} : { singleton: keyOf(singleton.key) }),
    ...(throttle === undefined ? {} : { throttle: keyOf(throttle.key) }),
    ...(concurrency === undefined
      ? {}
      : { concurrency: concurrency.map((rule) => `${slotPrefix(functionId, rule)}${keyOf(rule.key)}`) }),
  };
  const prioritySeconds = priority === undefined ? 0 : (valueOf(priority, 'priority') ?? 0);
  return failure ?? { kind: 'known', keys, priorityMs: prioritySeconds * 1_000 };
}

/** A slot a run takes, and how many there are. */
export interface SlotRule {
  slot: string;
  limit: number;
  /** Until the run ends, also while it waits. */
  isKept: boolean;
}

/** By the rules in force: those that are gone free the run, those that are new do not concern it. */
export function slotsOf(functionId: string, keys: FlowKeys, config: FlowControl | undefined): SlotRule[] {
  const rules: SlotRule[] = [];
  if (config?.singleton !== undefined && keys.singleton !== undefined) {
    rules.push({ slot: `singleton:${functionId}:${keys.singleton}`, limit: 1, isKept: true });
  }
  for (const rule of config?.concurrency ?? []) {
    const prefix = slotPrefix(functionId, rule);
    const slot = keys.concurrency?.find((one) => one.startsWith(prefix));
    if (slot !== undefined) rules.push({ slot, limit: rule.limit, isKept: false });
  }
  return rules;
}

/** Functions of an environment share the slots of rules with the same expression. */
function slotPrefix(functionId: string, { scope, key }: Pick<Concurrency, 'scope' | 'key'>): string {
  return `concurrency:${scope === 'env' ? '*' : functionId}:${hash(key ?? '').slice(0, 8)}:`;
}

export function laneName(of: {
  functionId: string;
  resumed: boolean;
  slots: readonly string[];
  throttle: string | undefined;
}): string {
  return hash(JSON.stringify([of.functionId, of.resumed, of.slots, of.throttle ?? null]));
}

export function keyHash(key: string): string {
  return hash(key);
}

function hash(text: string): string {
  return createHash('sha256').update(text).digest('hex').slice(0, 32);
}
