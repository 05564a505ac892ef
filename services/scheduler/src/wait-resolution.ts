/**
 * What ends a wait, decided: whether an event is one that it waits for, which signal it gets, what an awaited run came to.
 * No I/O and no clock.
 */
import type { KeptSignal, OpenWait, Resolution } from '@ironflow/database';
import { matchValueAt } from '@ironflow/schema';
import type { Failure, MatchValue, StoredEvent } from '@ironflow/schema';
import { createPairSubject, functionEventOf } from './condition.js';
import type { Conditions, ParsedEvent } from './condition.js';

export type EventVerdict =
  | 'resolves'
  | 'not_meant'
  /** The machine was too busy to tell. */
  | 'undecided'
  | { refused: Failure };

/** What is compared and judged of one event, its data parsed once. */
export interface AwaitedEvent {
  readonly event: StoredEvent;
  readonly parsed: ParsedEvent;
  /** At a path of its data. */
  valueAt(path: string): MatchValue | undefined;
}

export function awaitedEvent(event: StoredEvent): AwaitedEvent {
  const parsed = { event: functionEventOf(event), dataLength: event.data.length };
  return { event, parsed, valueAt: (path) => matchValueAt(parsed.event.data, path) };
}

/** `wait.trigger` has its data if there is a condition. An event on which the condition fails is none that was meant; a condition that can never hold fails the step. */
export function judgeEvent(
  wait: Pick<OpenWait, 'match' | 'condition' | 'trigger'>,
  awaited: AwaitedEvent,
  conditions: Conditions,
): EventVerdict {
  const { match, condition } = wait;
  // The event that started the run is none that it waits for, or that cancels it.
  if (awaited.event.id === wait.trigger.id) return 'not_meant';
  // One that came before it is routed late.
  if (awaited.event.receivedAtMs < wait.trigger.receivedAtMs) return 'not_meant';
  if (match !== undefined && awaited.valueAt(match.path) !== match.value) return 'not_meant';
  if (condition === undefined) return 'resolves';
  const verdict = conditions.evaluate(condition, createPairSubject(awaited.parsed, wait.trigger));
  switch (verdict.kind) {
    case 'true':
      return 'resolves';
    case 'undecided':
      return 'undecided';
    case 'false':
      return 'not_meant';
    case 'error':
      if (verdict.rule === undefined) return 'not_meant';
      return { refused: { name: 'ConditionError', message: `if: ${verdict.rule}` } };
  }
}

/** The event as the function gets it; its data as it came. */
export function outputOfEvent(event: StoredEvent): string {
  const { id, name, version, correlationId } = event;
  const receivedAt = new Date(event.receivedAtMs).toISOString();
  const rest = JSON.stringify({ id, name, version, receivedAt, correlationId });
  return `${rest.slice(0, -1)},"data":${event.data === '' ? 'null' : event.data}}`;
}

/** Of each name the oldest signal goes to the wait that was called first. */
export function pairSignals(waits: readonly OpenWait[], signals: readonly KeptSignal[]): Resolution[] {
  const left = [...signals];
  return waits.flatMap((wait) => {
    if (wait.kind !== 'signal') return [];
    const index = left.findIndex(({ runId, name }) => runId === wait.runId && name === wait.name);
    const [signal] = index === -1 ? [] : left.splice(index, 1);
    if (signal === undefined) return [];
    return [{ runId: wait.runId, stepId: wait.stepId, signalId: signal.id }];
  });
}

/** `undefined` while the awaited run goes on. */
export function resolutionByRun({ runId, stepId, awaitedRun }: OpenWait): Resolution | undefined {
  if (awaitedRun === undefined) return undefined;
  const { status, error } = awaitedRun;
  // What it returned may be large: Postgres has it.
  if (status === 'completed') return { runId, stepId };
  const fallback = { name: 'InvokedRunEnded', message: `the invoked run was ${status}` };
  return { runId, stepId, error: status === 'failed' ? (error ?? fallback) : fallback };
}
