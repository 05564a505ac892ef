/**
 * What a run is counted under, as its event gives it when it is routed: one key for each rule of its function. Also how the slots,
 * lanes and states that follow from them are called. Pure.
 *
 * An event without what an expression names has the empty key, which is the same for all of them.
 */
import { createHash } from 'node:crypto';
import { concurrencySlotPrefix, singletonSlotPrefix } from '@ironflow/schema';
import type { FlowControl, FlowKeys, Singleton, StoredEvent } from '@ironflow/schema';
import type { Conditions, ConditionSubject } from './condition.js';
import type { OverlapRule } from './schedule-overlap.js';

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
  {
    functionId,
    config,
    overlap,
  }: { functionId: string; config: FlowControl; overlap?: OverlapRule | undefined },
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
    ...(idempotency === undefined || isOwnRun ? {} : idempotencyOf(valueOf(idempotency, 'key'))),
    ...(rateLimit === undefined || isOwnRun ? {} : { rateLimit: keyOf(rateLimit.key) }),
    ...(debounce === undefined || standsAlone ? {} : { debounce: keyOf(debounce.key) }),
    ...(batch === undefined || standsAlone ? {} : { batch: keyOf(batch.key) }),
    ...singletonOf(singleton, overlap, keyOf),
    ...(throttle === undefined ? {} : { throttle: keyOf(throttle.key) }),
    ...(concurrency === undefined
      ? {}
      : {
          concurrency: concurrency.map(
            (rule) => `${concurrencySlotPrefix(functionId, rule)}${keyOf(rule.key)}`,
          ),
        }),
  };
  const prioritySeconds = priority === undefined ? 0 : (valueOf(priority, 'priority') ?? 0);
  return failure ?? { kind: 'known', keys, priorityMs: prioritySeconds * 1_000 };
}

/** An event without the key is like no other. */
function idempotencyOf(key: string | undefined): FlowKeys {
  return key === undefined ? {} : { idempotency: key };
}

/** A schedule's own, unless its function has one for all of its runs. */
function singletonOf(
  singleton: Singleton | undefined,
  overlap: OverlapRule | undefined,
  keyOf: (expression: string | undefined) => string,
): FlowKeys {
  if (singleton !== undefined) return { singleton: keyOf(singleton.key) };
  return overlap === undefined ? {} : { singleton: `schedule:${overlap.key}`, overlap: overlap.mode };
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
  if (singletonModeOf(keys, config) !== undefined) {
    rules.push({ slot: `${singletonSlotPrefix(functionId)}${keys.singleton}`, limit: 1, isKept: true });
  }
  for (const rule of config?.concurrency ?? []) {
    const prefix = concurrencySlotPrefix(functionId, rule);
    const slot = keys.concurrency?.find((one) => one.startsWith(prefix));
    if (slot !== undefined) rules.push({ slot, limit: rule.limit, isKept: false });
  }
  return rules;
}

/** The rule in force, of its schedule or of its function. */
export function singletonModeOf(
  keys: FlowKeys,
  config: FlowControl | undefined,
): Singleton['mode'] | undefined {
  if (keys.singleton === undefined) return undefined;
  return keys.overlap ?? config?.singleton?.mode;
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
