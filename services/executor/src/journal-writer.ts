/**
 * The one writer of a run's journal during one activation. Appends go out one at a time; what is asked for meanwhile goes
 * out together as the next one, so that steps which end at once cost one append, as long as they fit into one message.
 */
import type { JournalEntry } from '@ironflow/schema';
import { endOfMessage, entriesBytesMax, entryBytesMax } from './entry-size.js';
import { createJournalChain } from './journal-chain.js';
import type { JournalChainOptions, WriteResult } from './journal-chain.js';

export interface JournalWriter {
  /**
   * Each call is told what became of its own entries. `too_large`: one of them is, by itself, and what stands behind it was
   * not written. Calls that wait behind such a one are `lost`, but nothing that is asked for afterwards: the run's end is.
   */
  append(entries: JournalEntry[]): Promise<WriteResult>;
  /** What is appended next says that the run is for workers of that build from now on. */
  pin(buildId: string): void;
  /** Whether anything was appended by this writer, or is on its way: behind an end nothing may be announced. */
  hasAppended(): boolean;
}

export interface JournalWriterOptions extends JournalChainOptions {
  /** Nothing more can be written, for a reason that nobody expected. */
  onBroken: (error: unknown) => void;
}

interface Waiting {
  entries: JournalEntry[];
  resolve: (result: WriteResult) => void;
}

/** The result of the first entry that was not written. */
interface Written {
  result: WriteResult;
  count: number;
}

export function createJournalWriter(options: JournalWriterOptions): JournalWriter {
  const append = createJournalChain(options);
  let appended = false;
  let pinTo: string | undefined;
  let broken: 'lost' | 'restart' | undefined;
  let queue: Waiting[] = [];
  let writing = false;

  /** Halves what a server with a smaller limit refuses, down to the one entry that is too large by itself. */
  const writePart = async (entries: JournalEntry[]): Promise<Written> => {
    const result = await append(entries, pinTo);
    if (result === 'appended') pinTo = undefined;
    if (result !== 'too_large' || entries.length === 1) {
      return { result, count: result === 'appended' ? entries.length : 0 };
    }
    const half = Math.ceil(entries.length / 2);
    const first = await writePart(entries.slice(0, half));
    if (first.result !== 'appended') return first;
    const second = await writePart(entries.slice(half));
    return { result: second.result, count: half + second.count };
  };
  const writeAll = async (entries: JournalEntry[]): Promise<Written> => {
    let count = 0;
    while (count < entries.length) {
      if (broken !== undefined) return { result: broken, count };
      const to = endOfMessage(entries, count, entryBytesMax);
      const part = await writePart(
        count === 0 && to === entries.length ? entries : entries.slice(count, to),
      ).catch((error: unknown): Written => {
        options.onBroken(error);
        return { result: 'restart', count: 0 };
      });
      count += part.count;
      if (part.result === 'lost' || part.result === 'restart') broken = part.result;
      if (part.result !== 'appended') return { result: part.result, count };
    }
    return { result: 'appended', count };
  };
  const settle = async (batch: Waiting[]): Promise<void> => {
    const written = await writeAll(batch.flatMap((waiting) => waiting.entries));
    const refused = refusedCall(batch, written);
    for (const waiting of batch.slice(0, refused)) waiting.resolve('appended');
    if (refused === batch.length) return;
    let behind = batch.slice(refused + 1);
    if (written.result === 'too_large') {
      behind = [...behind, ...queue];
      queue = [];
    }
    batch[refused]!.resolve(written.result);
    for (const waiting of behind) waiting.resolve(broken ?? 'lost');
  };
  const drain = async (): Promise<void> => {
    writing = true;
    while (queue.length > 0) {
      const to = endOfMessage(queue, 0, bytesOfWaiting);
      const batch = to === queue.length ? queue : queue.slice(0, to);
      queue = queue.slice(to);
      await settle(batch);
    }
    writing = false;
  };
  return {
    hasAppended: () => appended,
    pin: (buildId) => (pinTo = buildId),
    append: (entries) =>
      new Promise((resolve) => {
        appended = true;
        queue.push({ entries, resolve });
        if (!writing) void drain();
      }),
  };
}

/** Which of the calls was not written whole; as many as there are if all were. */
function refusedCall(batch: readonly Waiting[], written: Written): number {
  if (written.result === 'appended') return batch.length;
  let index = 0;
  for (let count = 0; index < batch.length; index += 1) {
    count += batch[index]!.entries.length;
    if (count > written.count) break;
  }
  return index;
}

const bytesOfWaiting = ({ entries }: Waiting): number => entriesBytesMax(entries);
