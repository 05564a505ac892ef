/**
 * Sends what a run's logger writes, for it to be kept: with the records and the end that come after it, and half a second after it was written
 * at the latest. An executor of an older version passes it over.
 */
import type { WorkerMessage, Writer } from '@ironflow/schema';
import { KeptLines } from '../replay/kept-lines.js';
import type { LineKeeper } from '../replay/kept-lines.js';
import { startTimer } from '../timer.js';

export interface LineSender extends LineKeeper {
  flush(): void;
}

const flushAfterMs = 500;
/** So much is not held for that long. */
const flushedSize = 64 * 1024;

export function createLineSender(of: {
  runId: string;
  writer: Writer;
  send: (message: WorkerMessage) => void;
}): LineSender {
  let kept: KeptLines | undefined;
  let cancelFlush: (() => void) | undefined;
  const flush = (): void => {
    cancelFlush?.();
    cancelFlush = undefined;
    const lines = kept?.take() ?? [];
    if (lines.length > 0) of.send({ type: 'log', runId: of.runId, writer: of.writer, lines });
  };
  return {
    flush,
    add: (line, step) => {
      kept ??= new KeptLines(Date.now);
      kept.add(line, step);
      if (kept.size > flushedSize) flush();
      else cancelFlush ??= startTimer(flushAfterMs, flush);
    },
    // What an activation has written is sent, and there is no next call of it.
    passRecorded: () => undefined,
    passHeld: () => undefined,
  };
}
