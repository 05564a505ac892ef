/**
 * What consecutive journal messages of one run amount to, so that Postgres takes them as one change. Pure.
 *
 * P1 A chain holds messages of one run, each following the one before (`prev`), up to the first that ends the run.
 * P2 However a chain is cut into batches, applying the parts one after the other leaves the run in the same state.
 */
import type { RunProgress } from '@ironflow/database';
import { isBeginning, isProgress } from '@ironflow/schema';
import type { JournaledStep, JournalMessage, LostMessage, RunEntry } from '@ironflow/schema';

/** A journal message with its place in the stream. */
export interface PlacedMessage {
  sequence: number;
  message: JournalMessage;
  /** As it was delivered; missing when it was read from the journal. */
  delivered?: LostMessage;
}

export interface Chains {
  /** At most one a run. */
  chains: PlacedMessage[][];
  /** What follows none of them: early, a branch, or after the end. Only Postgres and the journal can tell. */
  aside: PlacedMessage[];
}

/** Sorts a batch, in whatever order it came, into the chains that begin with the oldest message of each run. */
export function chainsOf(batch: Iterable<PlacedMessage>): Chains {
  const runs = new Map<string, PlacedMessage[]>();
  for (const placed of batch) {
    const messages = runs.get(placed.message.runId);
    if (messages === undefined) runs.set(placed.message.runId, [placed]);
    else messages.push(placed);
  }
  const chains: PlacedMessage[][] = [];
  const aside: PlacedMessage[] = [];
  for (const messages of runs.values()) {
    const ordered = inStreamOrder(messages);
    const walked = follow(ordered[0]!.message.prev, ordered);
    chains.push(walked.chain);
    aside.push(...walked.aside);
  }
  return { chains, aside };
}

/** The messages that are reached from a position, in stream order, and those that are not. */
export function follow(
  position: number,
  ordered: readonly PlacedMessage[],
): { chain: PlacedMessage[]; aside: PlacedMessage[] } {
  const chain: PlacedMessage[] = [];
  const aside: PlacedMessage[] = [];
  let head = position;
  let ended = false;
  for (const placed of ordered) {
    if (ended || placed.message.prev !== head) {
      aside.push(placed);
      continue;
    }
    chain.push(placed);
    head = placed.sequence;
    ended = terminalEntryOf(placed.message) !== undefined;
  }
  return { chain, aside };
}

/** Ordered by sequence, each once: the last one given. */
export function inStreamOrder(messages: readonly PlacedMessage[]): PlacedMessage[] {
  if (messages.length === 1) return [...messages];
  const bySequence = new Map(messages.map((placed) => [placed.sequence, placed]));
  return [...bySequence.values()].sort((a, b) => a.sequence - b.sequence);
}

/**
 * Whether somebody waits for Postgres to take this message: what ends an activation, and what has a timer, since Postgres'
 * clock fixes when that is due. The record of a step that has ended is acted on by nobody before its activation ends.
 */
export function isAwaited(message: JournalMessage): boolean {
  return message.entries.some(
    (entry) => entry.type === 'run' || entry.step.status === 'waiting' || entry.step.status === 'retrying',
  );
}

export function collapse(chain: readonly PlacedMessage[]): RunProgress {
  const first = chain[0]!;
  const progress: RunProgress = {
    runId: first.message.runId,
    environmentId: first.message.environmentId,
    prev: first.message.prev,
    journalSeq: chain.at(-1)!.sequence,
    startedAtMs: chain.find(({ message }) => message.entries.some(isBeginning))?.message.activatedAtMs,
    steps: [],
  };
  const steps = new Map<string, JournaledStep>();
  for (const { message } of chain) {
    progress.pin ??= message.pin;
    progress.deferredReason = undefined;
    for (const entry of message.entries) {
      if (entry.type === 'run') addRunEntry(progress, entry.run);
      else addStep(progress, steps, entry.step);
    }
  }
  progress.steps = [...steps.values()];
  return progress;
}

function addStep(progress: RunProgress, steps: Map<string, JournaledStep>, step: JournaledStep): void {
  const key = `${step.attempt} ${step.id}`;
  // The first record of an attempt holds, as it would if they came in batches of their own.
  if (!steps.has(key)) steps.set(key, step);
  progress.status = 'running';
  if (isProgress(step)) progress.failures = 0;
}

function addRunEntry(progress: RunProgress, entry: RunEntry): void {
  if ('mismatch' in entry && entry.mismatch !== undefined) progress.mismatch = entry.mismatch;
  progress.callEndsInMs = 'callEndsInMs' in entry ? entry.callEndsInMs : undefined;
  switch (entry.kind) {
    case 'started':
      progress.status = 'running';
      return;
    case 'stopping':
      // Calls that failed before, and what it waited for, were for something else.
      progress.status = 'running';
      progress.failures = 0;
      progress.retryInMs = undefined;
      progress.stopping ??= entry.outcome.kind;
      if (entry.outcome.kind === 'failed') progress.error = entry.outcome.error;
      return;
    case 'yielded':
    case 'call_failed':
      progress.status = 'waiting';
      addServed(progress, entry.served);
      if (entry.activeMs !== undefined) progress.activeMs = (progress.activeMs ?? 0) + entry.activeMs;
      if (entry.retry === undefined) return;
      progress.failures = entry.retry.attempt;
      progress.retryInMs = entry.retry.inMs;
      return;
    case 'deferred':
      // The function was not called: no attempt is used.
      progress.status = 'waiting';
      addServed(progress, entry.served);
      progress.retryInMs = entry.inMs;
      progress.deferredReason = entry.reason;
      return;
    case 'completed':
      progress.output = entry.output;
      progress.outputClaim = entry.outputClaim;
      break;
    case 'failed':
      progress.error = entry.error;
      progress.notCompensated = entry.notCompensated;
      break;
    case 'cancelled':
      progress.notCompensated = entry.notCompensated;
      break;
    case 'skipped':
      progress.skipReason = entry.reason;
      break;
  }
  progress.status = entry.kind;
  addServed(progress, entry.served);
  progress.retryInMs = undefined;
}

/** It never goes back, though a later activation may have read less than an earlier one whose entries it did not see. */
function addServed(progress: RunProgress, served: number): void {
  progress.served = Math.max(progress.served ?? 0, served);
}

/** The entry that ends the run, if the message has one. */
export function terminalEntryOf(message: JournalMessage): TerminalRunEntry | undefined {
  const last = message.entries.at(-1);
  return last?.type === 'run' && isTerminalEntry(last.run) ? last.run : undefined;
}

type TerminalRunEntry = Extract<RunEntry, { kind: 'completed' | 'failed' | 'cancelled' | 'skipped' }>;

function isTerminalEntry(entry: RunEntry): entry is TerminalRunEntry {
  return ['completed', 'failed', 'cancelled', 'skipped'].includes(entry.kind);
}

/** Whether an activation ends here: the scheduler may have to publish the next one. */
export function endsActivation(message: JournalMessage): boolean {
  const last = message.entries.at(-1);
  return last?.type === 'run' && last.run.kind !== 'started' && last.run.kind !== 'stopping';
}
