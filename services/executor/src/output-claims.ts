/**
 * Outputs that are too large for the journal: their texts go to Postgres first, and what is appended in their place is a
 * claim. Small ones, which most are, go by.
 *
 * 1. Entries reach the journal in the order in which they were asked for, whatever their outputs take.
 * 2. While Postgres is away a large output waits, and whatever comes behind it, for as long as the lease is held.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { IronflowError } from '@ironflow/errors';
import { claimFor, runStep } from '@ironflow/database';
import type { ClaimKey, ExecutorStore, OutputToClaim } from '@ironflow/database';
import type { StoredJournalMessage } from '@ironflow/jetstream';
import { limits, outputClaimOf } from '@ironflow/schema';
import type { JournalEntry, OutputClaim } from '@ironflow/schema';
import { createBatcher } from '@ironflow/service';
import type { Batcher } from '@ironflow/service';
import type { WriteResult } from './journal-chain.js';
import type { JournalWriter } from './journal-writer.js';
import { isCompensation } from './run-position.js';
import type { Lease } from './lease.js';

/** Answers whether it is stored; one that is not is refused for what it is. */
export type OutputStore = Batcher<OutputToClaim, boolean>;

/** Of all runs together. What waits is in memory anyway: it is its run's. */
export function createOutputStore(store: Pick<ExecutorStore, 'storeClaimed'>): OutputStore {
  return createBatcher({
    maxItems: 100,
    maxConcurrent: 2,
    maxQueued: 20_000,
    run: (outputs) => store.storeClaimed(outputs),
  });
}

export interface ClaimingWriterOptions {
  writer: JournalWriter;
  environmentId: string;
  runId: string;
  outputs: Pick<OutputStore, 'add'>;
  lease: Pick<Lease, 'isHeld'>;
  /** An output can be neither stored nor refused, for a reason that nobody expected. */
  onBroken: (error: unknown) => void;
  pause?: (delayMs: number) => Promise<void>;
}

const retryDelayMsMin = 50;
const retryDelayMsMax = 1_000;

/** What became of those before: handed on to the journal, or why those behind them are not either. */
type Turn = Promise<'passed' | 'lost' | 'restart'>;
type Unclaimed = Extract<WriteResult, 'lost' | 'restart' | 'refused'>;

export function createClaimingWriter(options: ClaimingWriterOptions): JournalWriter {
  const { writer } = options;
  /** Set while something large is on its way to Postgres. */
  let last: Turn | undefined;
  let appended = false;

  const handOn = async (
    entries: JournalEntry[],
    before: Turn | undefined,
    resolve: (result: WriteResult | Promise<WriteResult>) => void,
  ): Turn => {
    const claiming = claimOutputs(options, entries);
    const turn = (await before) ?? 'passed';
    if (turn !== 'passed') {
      resolve(turn);
      return turn;
    }
    const claimed = await claiming;
    if (typeof claimed === 'string') {
      // What waits behind it is not written either, but what is asked for from now on is: the run's end.
      last = undefined;
      resolve(claimed);
      return claimed === 'restart' ? 'restart' : 'lost';
    }
    resolve(writer.append(claimed));
    return 'passed';
  };
  return {
    hasAppended: () => appended,
    pin: (buildId) => writer.pin(buildId),
    append: (entries) => {
      appended = true;
      if (last === undefined && !entries.some(isLarge)) return writer.append(entries);
      return new Promise((resolve) => {
        const turn = handOn(entries, last, resolve);
        last = turn;
        void turn.then(() => {
          if (last === turn) last = undefined;
        });
      });
    },
  };
}

/** The entries with claims for what is large, once that is stored. Never rejects. */
async function claimOutputs(
  options: ClaimingWriterOptions,
  entries: JournalEntry[],
): Promise<JournalEntry[] | Unclaimed> {
  const claimed = await Promise.all(
    entries.map(async (entry) => (isLarge(entry) ? claimOutput(options, entry) : entry)),
  );
  const unclaimed = claimed.find((one) => typeof one === 'string');
  return unclaimed ?? claimed.filter((one) => typeof one !== 'string');
}

async function claimOutput(
  options: ClaimingWriterOptions,
  entry: JournalEntry,
): Promise<JournalEntry | Unclaimed> {
  const { environmentId, runId, outputs, lease, pause = sleep } = options;
  const output = outputOf(entry)!;
  const outputClaim = claimFor(output);
  const key = claimKey(runId, entry, outputClaim);
  for (let delayMs = retryDelayMsMin; ; delayMs = Math.min(delayMs * 2, retryDelayMsMax)) {
    if (!lease.isHeld()) return 'lost';
    try {
      const isStored = await outputs.add({ ...key, environmentId, output });
      return isStored ? withClaim(entry, outputClaim) : 'refused';
    } catch (error) {
      if (!(error instanceof IronflowError && error.category === 'unavailable')) {
        options.onBroken(error);
        return 'restart';
      }
    }
    await pause(delayMs);
  }
}

/** The journal's tail as it would be if it held the outputs that it claims. Rejects when one is nowhere to be found. */
export async function withClaimedOutputs(
  store: Pick<ExecutorStore, 'readClaimed'>,
  runId: string,
  messages: StoredJournalMessage[],
): Promise<StoredJournalMessage[]> {
  const keys = messages.flatMap(({ message }) =>
    message.entries.flatMap((entry) => {
      const claim = memoizedClaimOf(entry);
      return claim === undefined ? [] : [claimKey(runId, entry, claim)];
    }),
  );
  if (keys.length === 0) return messages;
  const outputs = await store.readClaimed(keys);
  if (outputs.includes(undefined)) throw new Error('an output that the journal claims is not there');
  let next = 0;
  const resolved = (entry: JournalEntry): JournalEntry => {
    if (entry.type !== 'step' || memoizedClaimOf(entry) === undefined) return entry;
    return { type: 'step', step: { ...entry.step, output: outputs[next++]! } as typeof entry.step };
  };
  return messages.map((stored) => ({
    ...stored,
    message: { ...stored.message, entries: stored.message.entries.map(resolved) },
  }));
}

/** Of an output that a replay has to be given: what a run or an undoing returned is none. */
function memoizedClaimOf(entry: JournalEntry): OutputClaim | undefined {
  return entry.type === 'step' && !isCompensation(entry.step) ? outputClaimOf(entry) : undefined;
}

function claimKey(runId: string, entry: JournalEntry, { hash }: OutputClaim): ClaimKey {
  if (entry.type === 'run') return { runId, ...runStep, hash };
  return { runId, stepId: entry.step.id, attempt: entry.step.attempt, hash };
}

function withClaim(entry: JournalEntry, outputClaim: OutputClaim): JournalEntry {
  if (entry.type === 'step') {
    return { type: 'step', step: { ...entry.step, output: undefined, outputClaim } as typeof entry.step };
  }
  return { type: 'run', run: { ...entry.run, output: undefined, outputClaim } as typeof entry.run };
}

function isLarge(entry: JournalEntry): boolean {
  const output = outputOf(entry);
  if (output === undefined || output.length * 3 <= limits.inlineOutputBytesMax) return false;
  return Buffer.byteLength(output) > limits.inlineOutputBytesMax;
}

function outputOf(entry: JournalEntry): string | undefined {
  const ended = entry.type === 'step' ? entry.step : entry.run;
  return 'output' in ended ? ended.output : undefined;
}
