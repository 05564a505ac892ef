/** Records that wait to be submitted, cut into messages that neither side has to refuse. */
import type { StepRecord } from '@ironflow/schema';

/**
 * What one submission, or the end of an activation, carries at most, unless it is a single record: the largest output is
 * twice as long as a string within JSON if it is all quotes and backslashes. An executor reads no message, nor answer, of more than 32 MiB.
 */
export const batchBytesMax = 4 * 1024 * 1024;
export const answerBytesMax = 8 * 1024 * 1024;

export interface Batch {
  readonly submission: number;
  readonly records: StepRecord[];
}

/** Each batch is a submission of its own, which begins with its first record. */
export class Batches {
  private waiting: (Batch & { bytes: number })[] = [];

  constructor(private readonly submit: () => number) {}

  get count(): number {
    return this.waiting.length;
  }

  add(record: StepRecord): void {
    const bytes = bytesOf(record);
    const last = this.waiting.at(-1);
    if (last !== undefined && last.bytes + bytes <= batchBytesMax) {
      last.records.push(record);
      last.bytes += bytes;
    } else {
      this.waiting.push({ submission: this.submit(), records: [record], bytes });
    }
  }

  take(): Batch[] {
    const taken = this.waiting;
    this.waiting = [];
    return taken;
  }
}

/** As many of the records, from the first on, as one answer takes; the first in any case. */
export function answerable(records: StepRecord[]): StepRecord[] {
  let bytes = 0;
  const count = records.findIndex((record) => (bytes += bytesOf(record)) > answerBytesMax);
  return count === -1 ? records : records.slice(0, Math.max(1, count));
}

/** Below this length of output and error, the bound is below the next constant, every escape included. */
const countedLength = 1_024;
const smallRecordBytesMax = 12 * 1024;

/** Bytes of JSON; of small records, which most are, a bound that costs nothing. */
function bytesOf(record: StepRecord): number {
  const output = 'output' in record ? (record.output?.length ?? 0) : 0;
  const error = 'error' in record ? record.error.message.length + (record.error.stack?.length ?? 0) : 0;
  return output + error < countedLength ? smallRecordBytesMax : Buffer.byteLength(JSON.stringify(record));
}
