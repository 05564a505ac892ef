/** How many journal entries go into one message. Pure, and a bound instead of a measurement: nothing is printed for it. */
import { limits } from '@ironflow/schema';
import type { JournalEntry } from '@ironflow/schema';

/** Below nats-server's own limit of a message, 1 MiB, with its headers. */
const messageBytesMax = 700 * 1024;
/** Keys, times and numbers of an entry. */
const entryOverheadBytes = 512;

/** Of a step's id, six bytes a character, and what is said of it. */
const mismatchedStepBytesMax = 6 * (limits.stepNameBytesMax + 8) + 128;

/** Where the next message ends that begins with `items[from]`; it has that one in any case. */
export function endOfMessage<Item>(
  items: readonly Item[],
  from: number,
  bytesMax: (item: Item) => number,
): number {
  let to = from;
  for (let bytes = 0; to < items.length; to += 1) {
    bytes += bytesMax(items[to]!);
    if (to > from && bytes > messageBytesMax) break;
  }
  return to;
}

export function entriesBytesMax(entries: readonly JournalEntry[]): number {
  let bytes = 0;
  for (const entry of entries) bytes += entryBytesMax(entry);
  return bytes;
}

/** A bound that costs nothing: JSON within JSON has three bytes a character at most, plain text six. */
export function entryBytesMax(entry: JournalEntry): number {
  const ended = entry.type === 'step' ? entry.step : entry.run;
  const outputLength = 'output' in ended ? (ended.output?.length ?? 0) : 0;
  const error = 'error' in ended ? ended.error : 'retry' in ended ? ended.retry?.error : undefined;
  let textLength = entry.type === 'step' ? entry.step.id.length + entry.step.name.length : 0;
  for (const { step, error: why } of 'notCompensated' in ended ? (ended.notCompensated ?? []) : [])
    textLength += 64 + step.length + why.name.length + why.message.length;
  if (error !== undefined)
    textLength += error.name.length + error.message.length + (error.stack?.length ?? 0);
  const mismatched = 'mismatch' in ended ? (ended.mismatch?.steps.length ?? 0) : 0;
  return entryOverheadBytes + 3 * outputLength + 6 * textLength + mismatchedStepBytesMax * mismatched;
}
