/**
 * Where a run is: what Postgres has accepted, carried on by what its journal says and Postgres has not accepted yet.
 * Pure. An activation acts on this and never on its message or its delivery count, which may both be stale.
 */
import { ackWaitMs, compareWriters, isBeginning, isProgress, isTerminal } from '@ironflow/schema';
import type { Delivery } from '@ironflow/jetstream';
import type {
  JournalEntry,
  JournalMessage,
  MemoizedStep,
  Mismatch,
  Pin,
  RunStatus,
  StepRecord,
  StopOutcome,
  Writer,
} from '@ironflow/schema';

/** What Postgres says of a run. */
export interface AcceptedPosition {
  status: RunStatus;
  wake: number;
  served: number;
  failures: number;
  stopRequested?: boolean;
  begun?: boolean;
  startExpired?: boolean;
  /** Flow control has let it go on; absent where there is none. */
  admitted?: boolean;
  stopping?: StopOutcome;
  activeMs?: number;
  journalSeq: number;
  /** The last attempt of every step; not read when they are more than a run may have. */
  steps: MemoizedStep[];
  /** Of what the steps returned or threw. */
  memoBytes?: number;
  mismatch?: Mismatch;
  pin?: Pin;
}

export interface JournalTail {
  /** In the order of the stream, all after `journalSeq`. */
  messages: { sequence: number; message: JournalMessage }[];
  /** The last sequence that the stream has of the run, 0 if none: what the next append expects. */
  lastSequence: number;
}

export interface RunPosition {
  memo: Map<string, MemoizedStep>;
  memoBytes: number;
  mismatch: Mismatch | undefined;
  /** To which build. */
  pin: Pin | undefined;
  served: number;
  /** Calls of the function that failed since it last made progress. */
  failures: number;
  /** How it will end; the first word on it holds. */
  stopping: StopOutcome | undefined;
  activeMs: number;
  started: boolean;
  /** Its function was called for; one that was only put off has not begun, though it shows as waiting. */
  begun: boolean;
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
    memoBytes: accepted.memoBytes ?? 0,
    mismatch: accepted.mismatch,
    pin: accepted.pin,
    served: accepted.served,
    failures: accepted.failures,
    stopping: accepted.stopping,
    activeMs: accepted.activeMs ?? 0,
    started: accepted.status !== 'queued' && accepted.status !== 'waiting_for_worker',
    begun: accepted.begun ?? false,
    prev: accepted.journalSeq,
    lastSequence: tail.lastSequence,
  };
  let terminal = isTerminal(accepted.status);
  for (const { sequence, message } of tail.messages) {
    // What does not continue the chain is a branch: Postgres will drop it, so it is not part of the run.
    if (terminal || message.prev !== position.prev) continue;
    if (compareWriters(message.writer, self) > 0) return { kind: 'superseded' };
    position.prev = sequence;
    position.pin ??= message.pin;
    for (const entry of message.entries) {
      // Whatever else woke the run waits with a retry of its own for that one's time, unless it is to stop and is not yet at it.
      const isToStop = accepted.stopRequested === true && position.stopping === undefined;
      terminal = applyEntry(position, entry, isToStop ? 0 : accepted.wake) || terminal;
    }
  }
  if (terminal || accepted.wake <= position.served || !isLetGo(accepted, position))
    return { kind: 'nothing_due' };
  return { kind: 'ready', position };
}

/**
 * Its slots go with the end of the activation that they were taken for: one that was published meanwhile, for a timer or a signal
 * that came before that end, has none. Once Postgres has accepted the end, the run comes into the queue again. What is to end needs none.
 */
function isLetGo(accepted: AcceptedPosition, position: RunPosition): boolean {
  if (accepted.admitted === undefined || accepted.stopRequested === true || position.stopping !== undefined)
    return true;
  if (accepted.startExpired === true) return true;
  return accepted.admitted && position.served === accepted.served;
}

/**
 * Whether another executor may have been given the activation before, which the count does not always say:
 * - One that lay in the socket of a process that stood still, or in a network, is a first delivery like any other, but for its age.
 * - A server that is started again has not written down what it delivered last, and delivers that for the first time once more. All
 *   connections are newer than the activation then.
 * The server's clock says when it was stored: less than the ack wait is enough, and a server takes longer to start than clocks should differ.
 */
export function mayHaveBeenDriven(
  {
    deliveryCount,
    storedAtMs,
    connectedSinceMs,
  }: Pick<Delivery, 'deliveryCount' | 'storedAtMs' | 'connectedSinceMs'>,
  nowMs: number,
): boolean {
  if (deliveryCount > 1 || storedAtMs < connectedSinceMs) return true;
  return nowMs - storedAtMs >= ackWaitMs - 1_000;
}

/** The build of the lane on which a run is activated now; as Postgres has it, see `laneBuildOf` of libs/database. */
export function laneBuildOf({ pin, served }: Pick<RunPosition, 'pin' | 'served'>): string | undefined {
  return pin !== undefined && served > pin.servedBefore ? pin.buildId : undefined;
}

/** Carries a position on by one entry; `waits`: the wake-ups that a retry serves. Answers whether the run is terminal after it. */
function applyEntry(position: RunPosition, entry: JournalEntry, waits: number): boolean {
  position.started = true;
  position.begun ||= isBeginning(entry);
  if (entry.type === 'step') {
    position.memoBytes += memoGrowth(position.memo, [entry.step]);
    position.memo.set(entry.step.id, memoize(entry.step));
    if (isProgress(entry.step)) position.failures = 0;
    return false;
  }
  const { run } = entry;
  if ('served' in run) position.served = Math.max(position.served, run.served);
  if ('mismatch' in run) position.mismatch = run.mismatch ?? position.mismatch;
  if ('activeMs' in run) position.activeMs += run.activeMs ?? 0;
  switch (run.kind) {
    case 'yielded':
    case 'call_failed':
      if (run.retry === undefined) return false;
      position.failures = run.retry.attempt;
      // As Postgres has it when it accepts the entry.
      position.served = Math.max(position.served, waits);
      return false;
    case 'deferred':
      position.served = Math.max(position.served, waits);
      return false;
    case 'started':
      return false;
    case 'stopping':
      position.stopping ??= run.outcome;
      // Calls that failed before were for something else.
      position.failures = 0;
      return false;
    case 'completed':
    case 'failed':
    case 'cancelled':
    case 'skipped':
      return true;
  }
}

/**
 * Calls of an activation that left no record: each call of one that was delivered often is marked before it. They count as
 * long as nothing else follows them in the journal.
 */
export function unrecordedCalls(last: JournalMessage | undefined, self: Writer): number {
  const entry = last?.entries.at(-1);
  if (last?.writer.activation !== self.activation || entry?.type !== 'run') return 0;
  return entry.run.kind === 'started' ? (entry.run.calls ?? 0) : 0;
}

/** By how many bytes a memo grows with records: an attempt takes the place of the one before. */
export function memoGrowth(memo: ReadonlyMap<string, MemoizedStep>, records: readonly StepRecord[]): number {
  let bytes = 0;
  for (const record of records) bytes += memoBytesOf(record) - memoBytesOf(memo.get(record.id));
  return bytes;
}

function memoBytesOf(step: MemoizedStep | StepRecord | undefined): number {
  if (step === undefined) return 0;
  const output = outputOf(step);
  const error = 'error' in step ? step.error : undefined;
  const texts = [output, error?.name, error?.message, error?.stack];
  return texts.reduce((bytes, text = '') => bytes + Buffer.byteLength(text), 0);
}

/** Of an undoing nobody is given one. */
function outputOf(step: MemoizedStep | StepRecord): string | undefined {
  return 'output' in step && !isCompensation(step) ? step.output : undefined;
}

export function isCompensation({ type }: Pick<StepRecord, 'type'>): boolean {
  return type === 'compensate';
}

/** What a replay has to know of a step that was just recorded. */
export function memoize(record: StepRecord): MemoizedStep {
  const output = record.status === 'completed' ? outputOf(record) : undefined;
  return {
    id: record.id,
    type: record.type,
    attempt: record.attempt,
    status: record.status,
    ...(output === undefined ? {} : { output }),
    ...('error' in record ? { error: record.error } : {}),
    ...('order' in record && record.order !== undefined ? { order: record.order } : {}),
  };
}
