/** The notice of what Postgres has accepted of a run. Pure. */
import { isTerminal, limits } from '@ironflow/schema';
import type { Failure, RunNotice, RunNoticeKind, SlotsNotice } from '@ironflow/schema';
import type { AcceptedRun } from '@ironflow/database';
import { endsActivation, terminalEntryOf } from './progress.js';
import type { PlacedMessage } from './progress.js';

export interface Announcement {
  notice: RunNotice;
  what: RunNoticeKind;
}

export interface Told {
  run: AcceptedRun;
  messages: readonly PlacedMessage[];
  /** What ended the run, where it is known. */
  failure?: Failure | undefined;
}

/** What was just accepted. */
export function announceAccepted(told: Told): Announcement {
  return announce(told, stepsOf(told.messages));
}

/** What Postgres has, or has passed by: whether their steps were ever accepted is not known. */
export function announceAgain(told: Told): Announcement {
  return announce(told, []);
}

/** Runs with a wait that what was just accepted may answer: those that waited for this one, and itself with new waits. */
export function runsToLookAt({ run, messages }: Told): string[] {
  const brought = messages.some(({ message }) =>
    message.entries.some(
      (entry) => entry.type === 'step' && entry.step.status === 'waiting' && entry.step.type !== 'sleep',
    ),
  );
  return [...(brought && !isTerminal(run.status) ? [run.runId] : []), ...(run.awaitedBy ?? [])];
}

/** One notice for each environment with runs that gave slots back. */
export function freedSlots(runs: readonly AcceptedRun[]): SlotsNotice[] {
  const byEnvironment = new Map<string, SlotsNotice>();
  for (const { scope, freed = [] } of runs) {
    if (freed.length === 0) continue;
    const notice = byEnvironment.get(scope.environmentId) ?? { scope, slots: [] };
    byEnvironment.set(scope.environmentId, notice);
    for (const slot of freed) if (!notice.slots.includes(slot)) notice.slots.push(slot);
  }
  return [...byEnvironment.values()];
}

function announce({ run, messages, failure }: Told, steps: RunNotice['steps']): Announcement {
  return {
    what: kindOf(run, messages),
    notice: {
      scope: run.scope,
      runId: run.runId,
      eventId: run.eventId,
      functionId: run.functionId,
      appId: run.appId,
      mode: run.mode,
      ...(run.buildId === undefined ? {} : { buildId: run.buildId }),
      ...(run.limited === undefined ? {} : { limited: true }),
      ...(run.bulk === undefined ? {} : { bulk: true }),
      status: run.status,
      journalSeq: run.journalSeq,
      wake: run.wake,
      served: run.served,
      steps,
      ...(run.nextDueInMs === undefined ? {} : { nextDueInMs: run.nextDueInMs }),
      ...(run.failureEventId === undefined ? {} : { failureEventId: run.failureEventId }),
      ...(failure === undefined ? resultOf(run, messages) : { error: failure }),
    },
  };
}

function kindOf({ status, nextDueInMs }: AcceptedRun, messages: readonly PlacedMessage[]): RunNoticeKind {
  switch (status) {
    case 'completed':
    case 'failed':
    case 'cancelled':
    case 'skipped':
      return status;
    default:
      if (messages.some(({ message }) => endsActivation(message))) return 'yielded';
      return nextDueInMs === undefined ? 'progressed' : 'armed';
  }
}

function stepsOf(messages: readonly PlacedMessage[]): RunNotice['steps'] {
  const steps: RunNotice['steps'] = [];
  for (const { message } of messages) {
    for (const entry of message.entries) {
      if (entry.type !== 'step') continue;
      const { id, attempt, status } = entry.step;
      steps.push({ id, attempt, status });
    }
  }
  return steps;
}

function resultOf(
  run: AcceptedRun,
  messages: readonly PlacedMessage[],
): Pick<RunNotice, 'output' | 'outputOmitted' | 'error'> {
  if (!isTerminal(run.status)) return {};
  const last = messages.at(-1);
  const ending = last?.sequence === run.journalSeq ? terminalEntryOf(last.message) : undefined;
  // A step's entry delivered again after its run has ended: what the run ended with is not at hand.
  if (ending === undefined || ending.kind !== run.status) return { outputOmitted: true };
  if (ending.kind === 'failed') return { error: ending.error };
  if (ending.kind !== 'completed') return {};
  if (ending.outputClaim !== undefined) return { outputOmitted: true };
  if (ending.output === undefined) return {};
  return Buffer.byteLength(ending.output) > limits.noticeOutputBytesMax
    ? { outputOmitted: true }
    : { output: ending.output };
}
