/**
 * One live view as server-sent events, from when it is opened until one of the two leaves. Whoever opens it says how the next event is
 * read, and calls `look` when there may be one.
 * 1. Nothing is read for a reader that does not read, and one that has read nothing for a whole heartbeat is let go.
 * 2. What was not heard costs at most one heartbeat. The key is checked again with each.
 */
import type { ServerResponse } from 'node:http';
import type { Clock, Logger, TimerHandle } from '@ironflow/service';
import { finish } from './run-streams.js';

export interface LiveStreamOptions {
  logger: Logger;
  clock: Clock;
  heartbeatMs?: number;
}

export interface LiveStreamRequest {
  /** The text of the next event; `undefined` when nothing is new. Asked one at a time. */
  next: () => Promise<string | undefined>;
  /** Where the stream goes. */
  open: () => ServerResponse;
  /** Whether whoever asked may still see it. */
  isAllowed: () => Promise<boolean>;
  /** The text of an event before all others. */
  head?: string;
}

export interface LiveStream {
  look(): void;
  /** Ends it if whoever asked may not see it any more. */
  recheck(): void;
  end(): Promise<void>;
}

const heartbeatMsDefault = 15_000;

/** `release` is called once, after this has returned. */
export function createLiveStream(
  { clock, logger, heartbeatMs = heartbeatMsDefault }: LiveStreamOptions,
  { next, open, isAllowed, head }: LiveStreamRequest,
  release: () => void,
): LiveStream {
  const response = open();
  let isReading = false;
  let isDue = false;
  let isEnded = false;
  let wasFull = false;
  let heartbeat: TimerHandle | undefined;

  async function end(): Promise<void> {
    if (isEnded) return;
    isEnded = true;
    heartbeat?.cancel();
    release();
    await finish(response);
  }

  function look(): void {
    isDue = true;
    // One that is full looks again when it has been drained.
    if (isReading || isEnded || response.writableNeedDrain) return;
    isReading = true;
    void readOn()
      .catch((error: unknown) => logger.debug({ err: error }, 'a live stream could not be read on'))
      .finally(() => {
        isReading = false;
      });
  }

  async function readOn(): Promise<void> {
    while (isDue && !isEnded) {
      isDue = false;
      const text = await next();
      if (text === undefined || isEnded) continue;
      // There may be more behind it.
      isDue = true;
      if (!response.write(text)) return;
    }
  }

  function beat(): void {
    if (response.writableNeedDrain && wasFull) {
      response.destroy();
      void end();
      return;
    }
    wasFull = response.writableNeedDrain;
    if (!wasFull) response.write(': heartbeat\n\n');
    heartbeat = clock.setTimeout(beat, heartbeatMs);
    look();
    recheck();
  }

  // Postgres may be away: that is no reason to turn anybody out.
  function recheck(): void {
    void isAllowed().then(
      (allowed) => (allowed ? undefined : end()),
      () => undefined,
    );
  }

  response.once('close', () => void end());
  response.on('drain', () => {
    wasFull = false;
    look();
  });
  heartbeat = clock.setTimeout(beat, heartbeatMs);
  // Whoever has left by now is not told so again.
  if (response.closed || response.destroyed) void Promise.resolve().then(end);
  else if (head !== undefined) response.write(head);
  return { look, recheck, end };
}
