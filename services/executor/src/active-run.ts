/** One activation that this executor drives: the run, its lease, its journal, and what the function is told. */
import type {
  DeliveredEvent,
  StoredEvent,
  Scope,
  StopOutcome,
  Writer,
  Invocation,
  MemoizedStep,
  Mismatch,
  StepRecord,
} from '@ironflow/schema';
import {
  formatTraceparent,
  functionTimeoutMsDefault,
  isProgress,
  protocolVersion,
  stoppingVersion,
} from '@ironflow/schema';
import type { TraceContext } from '@ironflow/schema';
import type { JournalWriter } from './journal-writer.js';
import type { Lease } from './lease.js';
import { memoize } from './run-position.js';
import type { StopRequest } from './stop-requests.js';

export interface ActiveRun {
  runId: string;
  scope: Scope;
  appId: string;
  /** The build that it is pinned to. */
  buildId: string | undefined;
  /** Nothing of it is recorded that another build would have to fit: the worker that records the first step may keep it. */
  isPinnable: boolean;
  functionId: string;
  writer: Writer;
  event: Omit<StoredEvent, 'scope' | 'awaited'>;
  /** Of a batch: those after the first. */
  laterEvents: DeliveredEvent[];
  /** `runs.wake` when it was read. */
  wake: number;
  /** Failed calls since the function last made progress. */
  failures: number;
  memo: Map<string, MemoizedStep>;
  /** Something to undo was given to the journal in this activation, whether it is acknowledged by now or not. */
  hasRegistered: boolean;
  /** How it will end, once what it had registered is undone: the function is called for nothing else. */
  stopping: StopOutcome | undefined;
  /** It was to have begun before: the function is not called. */
  isTooLate: boolean;
  /** It holds slots of flow control: they are not free before its function is at rest. */
  isLimited: boolean;
  /** For how long the function was at work in the activations before. */
  activeMs: number;
  /** Of what its steps returned or threw, with those that are being recorded. */
  memoBytes: number;
  /** What of its record is known not to fit its function's code. */
  mismatch: Mismatch | undefined;
  /** Calls of this activation that left no record; counted once somebody may have driven it before. */
  unrecordedCalls: number | undefined;
  /** How the call went is in the journal, for the circuit breaker. */
  callReported: boolean;
  registryVersion: number;
  /** Whoever drives the run ends it when it is asked to. */
  stop: StopRequest;
  lease: Lease;
  journal: JournalWriter;
  activatedAtMs: number;
  /** For how long the activation had waited for an executor; not of one that was taken before. */
  queuedMs: number | undefined;
  /** Of the activation's span; undefined when the run is not sampled. */
  trace: TraceContext | undefined;
  /** Of the run, sampled or not. */
  traceparent: string | undefined;
  /** The span that published the activation. */
  causedBy: TraceContext | undefined;
}

export function toInvocation(run: ActiveRun, deadlineMs?: number): Invocation {
  const { event, stopping } = run;
  return {
    ...(stopping === undefined
      ? { v: protocolVersion }
      : { v: stoppingVersion, stopping: { as: stopping.kind } }),
    run: { id: run.runId, functionId: run.functionId, attempt: run.failures + 1 },
    event: {
      id: event.id,
      name: event.name,
      data: event.data,
      ...(event.version === undefined ? {} : { version: event.version }),
      receivedAtMs: event.receivedAtMs,
      correlationId: event.correlationId,
    },
    ...(run.laterEvents.length === 0 ? {} : { laterEvents: run.laterEvents }),
    memo: [...run.memo.values()],
    ...(run.mismatch === undefined ? {} : { mismatch: run.mismatch }),
    ...(run.trace === undefined ? {} : { traceparent: formatTraceparent(run.trace) }),
    ...(deadlineMs === undefined ? {} : { deadlineMs }),
  };
}

/** Records are durable now: the next call knows them. */
export function remember(run: ActiveRun, records: StepRecord[]): void {
  for (const record of records) run.memo.set(record.id, memoize(record));
  if (records.some(isProgress)) run.failures = 0;
}

/** What is left of the function's time bounds this activation. To undo may take longer: that is not counted. */
export function limitActivity(run: ActiveRun, timeoutMs = functionTimeoutMsDefault): void {
  run.stop.timeOutIn(run.stopping === undefined ? timeoutMs - run.activeMs : Number.POSITIVE_INFINITY);
}
