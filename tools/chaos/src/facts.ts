/** What is known when everything is over: all that the oracle may look at. Times are milliseconds of this machine's clock. */
import type { LedgerLine, StoredTimes } from '@ironflow/bench';
import type { CircuitChange } from '@ironflow/schema';
import type { InjectedFault } from './injection.js';
import type { Accepted } from './load.js';
import type { OperationName } from './operations.js';

export interface EventFact {
  id: string;
  name: string;
  data: unknown;
  source: string;
  /** The one function it is for. */
  functionId: string | null;
  /** The run that its run repeats. */
  rerunOf: string | null;
  receivedAtMs: number;
}

export interface RunFact {
  id: string;
  eventId: string;
  functionId: string;
  status: string;
  skipReason: string | null;
  /** The run that it was skipped for. */
  joinedRunId: string | null;
  output: unknown;
  error: { name?: string; message?: string } | null;
  /** The build that it is pinned to. */
  buildId: string | null;
  /** The steps that it could not undo. */
  notCompensated: string[];
  /** Attempts that it has used up. */
  failures: number;
  createdAtMs: number;
  endedAtMs: number | null;
}

export interface StepFact {
  runId: string;
  stepId: string;
  attempt: number;
  type: string;
  status: string;
  dueAtMs: number | null;
  awaitedEventId: string | null;
}

export interface DeadLetterFact {
  reason: string;
  detail: string;
  runId: string | null;
}

/** What was heard of a run's end while it happened. */
export interface EndHeard {
  runId: string;
  status: string;
}

/** As the subscriber outside was given it. */
export interface HeardMessage {
  id: string;
  key: string;
}

/** What an operator did, from when it was answered until its end was first asked for. */
export interface OperationFact {
  name: OperationName;
  /** What was paused; absent where that was everything. */
  functionId?: string;
  fromMs: number;
  untilMs: number;
}

/** As it was told of while it happened. */
export interface BreakerChange {
  functionId: string;
  change: CircuitChange;
  atMs: number;
}

/** A large output on its way, of a step that nothing accepted it for. */
export interface ClaimFact {
  runId: string;
  stepId: string;
}

/** Something that should be gone by now. */
export interface Leftover {
  what: string;
  count: number;
  /** Ids of a few. */
  examples: string[];
}

export interface Facts {
  accepted: Accepted;
  ledger: readonly LedgerLine[];
  events: readonly EventFact[];
  runs: readonly RunFact[];
  steps: readonly StepFact[];
  deadLetters: readonly DeadLetterFact[];
  /** When nats-server stored the result of each step, or Postgres was known to have it. */
  stored: StoredTimes;
  /** As nats-server gave them alone, of runs that are younger than the last wipe. */
  journal: StoredTimes;
  endsHeard: readonly EndHeard[];
  /** In the order in which they came. */
  messages: readonly HeardMessage[];
  claims: readonly ClaimFact[];
  operations: readonly OperationFact[];
  breakerChanges: readonly BreakerChange[];
  faults: readonly Omit<InjectedFault, 'recoversFrom' | 'victim'>[];
  /** What is younger stands on nothing that was lost. 0: nothing was. */
  wipedUntilMs: number;
  leftovers: readonly Leftover[];
  /** Processes that ended without having been struck. */
  deaths: readonly string[];
  /** From when to when the schedules were registered. */
  schedule: { fromMs: number; untilMs: number };
}

export interface Violation {
  rule: string;
  /** With the ids that it can be looked up by. */
  evidence: string;
}
