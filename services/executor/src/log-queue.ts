/**
 * Lines of runs that wait to be stored, in a bounded room. Environments take turns. When there is no room, the oldest lines of whichever
 * environment has most give way, and the next that is taken of their run says how many they were. Pure.
 */
import { Fifo } from '@ironflow/collections';
import type { NewLogLine } from '@ironflow/database';

export interface LogQueueLimits {
  /** About, of all that waits. */
  bytesMax: number;
  /** Of one batch, if it is more than one line. */
  batchLinesMax: number;
  batchBytesMax: number;
}

interface Waiting {
  lines: Fifo<NewLogLine>;
  bytes: number;
}

/** Of a run, in the place of the last that gave way. */
interface Gap {
  count: number;
  last: NewLogLine;
}

/** Lines of one environment in a row: one at a time would cost more than it is fairer. */
const turnLines = 50;
/** Making room once for many, since whoever has most has to be looked for. */
const roomShare = 0.9;
/** Beyond, the gap of the run that has waited longest is only counted. */
const gapsMax = 10_000;
/** Of a line without its texts. */
const lineBytes = 200;

export class LogQueue {
  private readonly environments = new Map<string, Waiting>();
  private readonly gaps = new Map<string, Gap>();
  private bytes = 0;
  private lines = 0;

  constructor(private readonly limits: LogQueueLimits) {}

  /** Lines and gaps. */
  get size(): number {
    return this.lines + this.gaps.size;
  }

  /** Answers how many lines gave way. */
  add(line: NewLogLine): number {
    let waiting = this.environments.get(line.environmentId);
    if (waiting === undefined) {
      waiting = { lines: new Fifo(), bytes: 0 };
      this.environments.set(line.environmentId, waiting);
    }
    waiting.lines.push(line);
    this.count(waiting, line, 1);
    return this.bytes > this.limits.bytesMax ? this.makeRoom() : 0;
  }

  take(): NewLogLine[] {
    const batch: NewLogLine[] = [];
    for (const [runId, gap] of this.gaps) {
      if (batch.length >= this.limits.batchLinesMax) return batch;
      this.gaps.delete(runId);
      batch.push(noteOf(gap));
    }
    let bytes = 0;
    while (this.lines > 0 && batch.length < this.limits.batchLinesMax) {
      const [environmentId, waiting] = this.environments.entries().next().value!;
      // Its next turn is behind the others'.
      this.environments.delete(environmentId);
      for (let turn = 0; turn < turnLines && waiting.lines.size > 0; turn += 1) {
        if (batch.length >= this.limits.batchLinesMax || bytes >= this.limits.batchBytesMax) break;
        const line = this.shift(waiting);
        bytes += sizeOf(line);
        batch.push(line);
      }
      if (waiting.lines.size > 0) this.environments.set(environmentId, waiting);
      if (bytes >= this.limits.batchBytesMax) break;
    }
    return batch;
  }

  private makeRoom(): number {
    const bytesLeft = this.limits.bytesMax * roomShare;
    const before = this.lines;
    while (this.bytes > bytesLeft) {
      const [environmentId, largest] = [...this.environments].reduce((most, one) =>
        one[1].bytes > most[1].bytes ? one : most,
      );
      // By half, before it is seen who has most then.
      const half = largest.bytes / 2;
      while (this.bytes > bytesLeft && largest.bytes > half) this.drop(largest);
      if (largest.lines.size === 0) this.environments.delete(environmentId);
    }
    return before - this.lines;
  }

  private drop(waiting: Waiting): void {
    const last = this.shift(waiting);
    const count = (this.gaps.get(last.runId)?.count ?? 0) + 1;
    this.gaps.delete(last.runId);
    this.gaps.set(last.runId, { count, last: { ...last, message: '', fields: undefined } });
    if (this.gaps.size > gapsMax) this.gaps.delete(this.gaps.keys().next().value!);
  }

  private shift(waiting: Waiting): NewLogLine {
    const line = waiting.lines.shift()!;
    this.count(waiting, line, -1);
    return line;
  }

  private count(waiting: Waiting, line: NewLogLine, sign: 1 | -1): void {
    const bytes = sign * sizeOf(line);
    waiting.bytes += bytes;
    this.bytes += bytes;
    this.lines += sign;
  }
}

function noteOf({ count, last }: Gap): NewLogLine {
  const message = `${count} ${count === 1 ? 'line was' : 'lines were'} dropped: they could not be stored in time`;
  return { ...last, level: 'warn', message, step: undefined };
}

/** Characters, which is near enough. */
function sizeOf({ message, fields }: NewLogLine): number {
  return lineBytes + message.length + (fields?.length ?? 0);
}
