/**
 * Where a run is: what Postgres has accepted, carried on by what its journal says and Postgres has not accepted yet.
 * Pure. An activation acts on this and never on its message or its delivery count, which may both be stale.
 */
import { compareWriters, isTerminal } from '@ironflow/schema';
import type {
  JournalEntry,
  JournalMessage,
  MemoizedStep,
  RunStatus,
  StepRecord,
  Writer,
} from '@ironflow/schema';

/** What Postgres says of a run. */
export interface AcceptedPosition {
  status: RunStatus;
  wake: number;
  served: number;
  failures: number;
  journalSeq: number;
  /** The last attempt of every step. */
  steps: MemoizedStep[];
}

export interface JournalTail {
  /** In the order of the stream, all after `journalSeq`. */
  messages: { sequence: number; message: JournalMessage }[];
  /** The last sequence that the stream has of the run, 0 if none: what the next append expects. */
  lastSequence: number;
}

export interface RunPosition {
  memo: Map<string, MemoizedStep>;
  served: number;
  /** Calls of the function that failed since it last made progress. */
  failures: number;
  started: boolean;
  /** The last entry on the chain: `prev` of the next append. */
  prev: number;
  lastSequence: number;
}

export type Readiness =
  | { kind: 'ready'; position: RunPosition }
  /** Terminal, or everything that woke it has been served: the activation is done. */
  | { kind: 'nothing_due' }
  /** A newer activation or delivery has the run: nothing may be sent, not even an ack. */
  | { kind: 'superseded' };

export function assessReadiness(accepted: AcceptedPosition, tail: JournalTail, self: Writer): Readiness {
  const position: RunPosition = {
    memo: new Map(accepted.steps.map((step) => [step.id, step])),
    served: accepted.served,
    failures: accepted.failures,
    started: accepted.status !== 'queued',
    prev: accepted.journalSeq,
    lastSequence: tail.lastSequence,
  };
  let terminal = isTerminal(accepted.status);
  for (const { sequence, message } of tail.messages) {
    // What does not continue the chain is a branch: Postgres will drop it, so it is not part of the run.
    if (terminal || message.prev !== position.prev) continue;
    if (compareWriters(message.writer, self) > 0) return { kind: 'superseded' };
    position.prev = sequence;
    for (const entry of message.entries) terminal = applyEntry(position, entry) || terminal;
  }
  if (terminal || accepted.wake <= position.served) return { kind: 'nothing_due' };
  return { kind: 'ready', position };
}

/** Carries a position on by one entry; answers whether the run is terminal after it. */
function applyEntry(position: RunPosition, entry: JournalEntry): boolean {
  position.started = true;
  if (entry.type === 'step') {
    position.memo.set(entry.step.id, memoize(entry.step));
    position.failures = 0;
    return false;
  }
  const { run } = entry;
  if ('served' in run) position.served = Math.max(position.served, run.served);
  switch (run.kind) {
    case 'yielded':
      if (run.retry !== undefined) position.failures = run.retry.attempt;
      return false;
    case 'call_failed':
      position.failures = run.retry.attempt;
      return false;
    case 'started':
    case 'deferred':
      return false;
    case 'completed':
    case 'failed':
      return true;
  }
}

/** What a replay has to know of a step that was just recorded. */
export function memoize(record: StepRecord): MemoizedStep {
  return {
    id: record.id,
    type: record.type,
    attempt: record.attempt,
    status: record.status,
    ...(record.status === 'completed' && record.output !== undefined ? { output: record.output } : {}),
    ...('error' in record ? { error: record.error } : {}),
    ...('order' in record && record.order !== undefined ? { order: record.order } : {}),
  };
}
