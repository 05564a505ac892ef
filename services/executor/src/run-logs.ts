/**
 * What loggers of runs write, on its way to Postgres: as well as can be, and in nobody's way.
 * 1. No run waits for a line: what comes is taken at once, in a room that is bounded (log-queue.ts).
 * 2. While Postgres is away lines wait; those that give way are counted, and their runs say how many.
 * 3. A line's id is its place in its run: stored again after an answer that was lost, or sent twice, it is there once.
 */
import { setTimeout as delay } from 'node:timers/promises';
import type { ExecutorStore, NewLogLine } from '@ironflow/database';
import { IronflowError, messageOf } from '@ironflow/errors';
import { deriveLogLineId } from '@ironflow/schema';
import type { LoggedLine } from '@ironflow/schema';
import type { Logger, Stoppable } from '@ironflow/service';
import type { ActiveRun } from './active-run.js';
import type { ExecutorMetrics } from './executor-metrics.js';
import { LogQueue } from './log-queue.js';

export interface RunLogsOptions {
  store: Pick<ExecutorStore, 'storeLogLines'>;
  metrics: Pick<ExecutorMetrics, 'logLines'>;
  logger: Logger;
  /** Of one run; 0: none is kept. */
  linesPerRunMax: number;
  /** About, of all lines that wait; 16 MiB by default. */
  bytesMax?: number;
}

export interface RunLogs extends Stoppable {
  /** Of the activation's call of that number; over a worker's socket it is one call. */
  add(run: LoggingRun, call: number, lines: readonly LoggedLine[]): void;
  waiting(): number;
  /** Stores what is there, unless Postgres does not take it now. */
  stop(): Promise<void>;
}

type LoggingRun = Pick<ActiveRun, 'runId' | 'scope' | 'writer' | 'activatedAtMs'>;

const bytesMaxDefault = 16 * 1024 * 1024;
const batchLinesMax = 1_000;
const batchBytesMax = 1024 * 1024;
/** Lines gather for so long: nobody waits for them but who follows a run. */
const lingerMs = 100;
const retryDelayMsMin = 100;
const retryDelayMsMax = 5_000;

export function createRunLogs(options: RunLogsOptions): RunLogs {
  const { store, metrics, logger, linesPerRunMax, bytesMax = bytesMaxDefault } = options;
  const queue = new LogQueue({ bytesMax, batchLinesMax, batchBytesMax });
  const stopping = new AbortController();
  let sending: Promise<void> | undefined;

  const pause = (ms: number): Promise<void> =>
    delay(ms, undefined, { signal: stopping.signal }).catch(() => undefined);
  const send = async (): Promise<void> => {
    while (queue.size > 0) {
      if (queue.size < batchLinesMax) await pause(lingerMs);
      const isStored = await storeBatch(queue.take());
      // What is left when Postgres is away and the process stops is lost.
      if (!isStored && stopping.signal.aborted) break;
    }
    sending = undefined;
  };
  const storeBatch = async (batch: readonly NewLogLine[]): Promise<boolean> => {
    for (let delayMs = retryDelayMsMin; ; delayMs = Math.min(2 * delayMs, retryDelayMsMax)) {
      try {
        const stored = await store.storeLogLines(batch, linesPerRunMax);
        const leftOut = batch.length - stored;
        metrics.logLines.add(stored, { result: 'stored' });
        // There already, beyond what is kept of a run, or nothing that Postgres takes.
        if (leftOut > 0) metrics.logLines.add(leftOut, { result: 'left_out' });
        return true;
      } catch (error) {
        const isAway = error instanceof IronflowError && error.category === 'unavailable';
        if (!isAway || stopping.signal.aborted) {
          const lines = batch.length;
          metrics.logLines.add(lines, { result: 'dropped' });
          logger.warn(
            { reason: messageOf(error), lines },
            'lines of runs cannot be stored; they are dropped',
          );
          return false;
        }
      }
      await pause(delayMs);
    }
  };

  return {
    add: (run, call, lines) => {
      if (linesPerRunMax === 0) return;
      let dropped = 0;
      for (const line of lines) dropped += queue.add(toRow(run, call, line));
      if (dropped > 0) metrics.logLines.add(dropped, { result: 'dropped' });
      if (queue.size > 0) sending ??= send();
    },
    waiting: () => queue.size,
    stop: async () => {
      stopping.abort();
      await sending;
    },
  };
}

function toRow(run: LoggingRun, call: number, line: LoggedLine): NewLogLine {
  const { sequence, ...rest } = line;
  const { activation } = run.writer;
  const id = deriveLogLineId({ activation, activatedAtMs: run.activatedAtMs, call, sequence });
  return { ...rest, id, runId: run.runId, environmentId: run.scope.environmentId };
}
