/**
 * The one writer of a run's journal during one activation. Appends go out one at a time; what is asked for meanwhile goes
 * out together as the next one, so that steps which end at once cost one append, as long as they fit into one message.
 */
import type { JournalEntry } from '@ironflow/schema';
import { endOfMessage, entriesBytesMax, entryBytesMax } from './entry-size.js';
import { createJournalChain } from './journal-chain.js';
import type { JournalChainOptions, WriteResult } from './journal-chain.js';

export interface JournalWriter {
  /** `too_large`: one entry is, by itself; what follows it in the same call was not written either. */
  append(entries: JournalEntry[]): Promise<WriteResult>;
  /** Whether anything was appended by this writer. */
  hasAppended(): boolean;
}

interface Waiting {
  entries: JournalEntry[];
  resolve: (result: WriteResult) => void;
}

export function createJournalWriter(options: JournalChainOptions): JournalWriter {
  const append = createJournalChain(options);
  let appended = false;
  let broken: 'lost' | 'restart' | undefined;
  let queue: Waiting[] = [];
  let writing = false;

  /** Halves what a server with a smaller limit refuses, down to the one entry that is too large by itself. */
  const writePart = async (entries: JournalEntry[]): Promise<WriteResult> => {
    const result = await append(entries);
    if (result === 'appended') appended = true;
    if (result !== 'too_large' || entries.length === 1) return result;
    const half = Math.ceil(entries.length / 2);
    const first = await writePart(entries.slice(0, half));
    return first === 'appended' ? writePart(entries.slice(half)) : first;
  };
  const writeAll = async (entries: JournalEntry[]): Promise<WriteResult> => {
    for (let from = 0; from < entries.length;) {
      const to = endOfMessage(entries, from, entryBytesMax);
      const result = await writePart(from === 0 && to === entries.length ? entries : entries.slice(from, to));
      if (result !== 'appended') return result;
      from = to;
    }
    return 'appended';
  };
  const settle = async (batch: Waiting[]): Promise<void> => {
    const entries = batch.flatMap((waiting) => waiting.entries);
    const result = broken ?? (await writeAll(entries).catch(() => 'restart' as const));
    if (result === 'lost' || result === 'restart') broken = result;
    for (const waiting of batch) waiting.resolve(result);
  };
  const drain = async (): Promise<void> => {
    writing = true;
    while (queue.length > 0) {
      const waiting = queue;
      queue = [];
      for (let from = 0; from < waiting.length;) {
        const to = endOfMessage(waiting, from, bytesOfWaiting);
        await settle(from === 0 && to === waiting.length ? waiting : waiting.slice(from, to));
        from = to;
      }
    }
    writing = false;
  };
  return {
    hasAppended: () => appended,
    append: (entries) =>
      new Promise((resolve) => {
        queue.push({ entries, resolve });
        if (!writing) void drain();
      }),
  };
}

const bytesOfWaiting = ({ entries }: Waiting): number => entriesBytesMax(entries);
