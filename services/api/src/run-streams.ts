/**
 * Runs as they change, as server-sent events. A notice says that something happened; what is sent is read from Postgres,
 * so that a reader never sees a state that a later request would not find.
 * 1. Notices are listened to before the first read, so nothing falls in between.
 * 2. Changes that come faster than they are read are sent as one.
 * 3. A lost notice costs at most one heartbeat. The key is checked again with each.
 * 4. The number of streams is bounded, and a reader that does not read is let go.
 * 5. Reads that fail are tried again ever more slowly, down to the heartbeat: all streams fail at the same time.
 */
import type { ServerResponse } from 'node:http';
import type { ApiStore } from '@ironflow/database';
import { IronflowError } from '@ironflow/errors';
import type { JetStream } from '@ironflow/jetstream';
import { isTerminal, subjects } from '@ironflow/schema';
import type { RunUpdate, Scope } from '@ironflow/schema';
import type { Clock, Logger, Metrics, Stoppable, TimerHandle } from '@ironflow/service';

export interface RunStreamsOptions {
  jetstream: Pick<JetStream, 'notices' | 'connection'>;
  store: Pick<ApiStore, 'getRunUpdate'>;
  logger: Logger;
  metrics: Metrics;
  clock: Clock;
  streamsMax?: number;
  heartbeatMs?: number;
}

export interface RunStreamRequest {
  scope: Scope;
  runId: string;
  /** Where the stream goes once the run is known to exist. */
  open: () => ServerResponse;
  /** Whether whoever asked may still see it. */
  isAllowed: () => Promise<boolean>;
}

export interface RunStreams extends Stoppable {
  start(): void;
  /** Rejects, with nothing sent, when there is no such run or no room; resolves once the stream is on its way. */
  watch(request: RunStreamRequest): Promise<void>;
  /** Ends what may not be seen any more of this environment's; its keys have changed. */
  recheck(environmentId: string): void;
  stop(): Promise<void>;
}

interface Stream {
  environmentId: string;
  /** To be called once, when the stream can be found by whoever ends it. */
  begin(run: RunUpdate): void;
  look(): void;
  /** Ends it if whoever asked may not see it any more. */
  recheck(): void;
  /** Resolves when everything is on its way to the reader. */
  end(): Promise<void>;
}

const streamsMaxDefault = 1_000;
const heartbeatMsDefault = 15_000;
/** Between two reads of one run: a quick run with many steps is not read at every one of them. */
const readIntervalMs = 100;
const failedReadPauseMs = 1_000;
const unreadBytesMax = 4 * 1024 * 1024;

export function createRunStreams(options: RunStreamsOptions): RunStreams {
  const streams = new Set<Stream>();
  const streamsMax = options.streamsMax ?? streamsMaxDefault;
  let opening = 0;
  let isStopped = false;
  let stopListening: (() => void) | undefined;
  options.metrics.gauge('api_run_streams', 'Runs that are watched now', () => streams.size);

  async function watch(request: RunStreamRequest): Promise<void> {
    if (isStopped || streams.size + opening >= streamsMax) throw tooManyStreams();
    let onNotice = (): void => undefined;
    const filter = subjects.runNoticesOf(request.scope, request.runId);
    const unsubscribe = options.jetstream.notices.onRun(filter, () => onNotice());
    opening += 1;
    try {
      const { environmentId } = request.scope;
      const run = await options.store.getRunUpdate(environmentId, request.runId);
      if (run === undefined) throw runNotFound();
      const stream = createStream(options, request, () => {
        unsubscribe();
        streams.delete(stream);
      });
      streams.add(stream);
      onNotice = () => stream.look();
      stream.begin(run);
      if (isStopped) void stream.end();
      // A notice may have come while the run was being read; looking again costs one read.
      stream.look();
    } catch (error) {
      unsubscribe();
      throw error;
    } finally {
      opening -= 1;
    }
  }

  return {
    watch,
    start: () => {
      stopListening = options.jetstream.connection.onReconnect(() => {
        for (const stream of streams) stream.look();
      });
    },
    recheck: (environmentId) => {
      for (const one of streams) if (one.environmentId === environmentId) one.recheck();
    },
    stop: async () => {
      isStopped = true;
      stopListening?.();
      await Promise.all([...streams].map((stream) => stream.end()));
    },
  };
}

function createStream(
  { store, clock, logger, heartbeatMs = heartbeatMsDefault }: RunStreamsOptions,
  { scope, runId, open, isAllowed }: RunStreamRequest,
  onEnd: () => void,
): Stream {
  const response = open();
  let lastSent = '';
  let failures = 0;
  let isReading = false;
  let isDue = false;
  let isEnded = false;
  let pause: TimerHandle | undefined;
  let heartbeat: TimerHandle | undefined;

  async function end(): Promise<void> {
    if (isEnded) return;
    isEnded = true;
    pause?.cancel();
    heartbeat?.cancel();
    onEnd();
    await finish(response);
  }

  function write(text: string): void {
    response.write(text);
    if (response.writableLength <= unreadBytesMax) return;
    response.destroy();
    void end();
  }

  function show(run: RunUpdate): void {
    const text = JSON.stringify(run);
    if (text !== lastSent) write(`event: run\ndata: ${text}\n\n`);
    lastSent = text;
    if (isTerminal(run.status)) void end();
  }

  function look(): void {
    isDue = true;
    if (isReading || isEnded || pause !== undefined) return;
    isReading = true;
    isDue = false;
    void store
      .getRunUpdate(scope.environmentId, runId)
      .then((run) => {
        failures = 0;
        if (isEnded) return;
        if (run === undefined) void end();
        else show(run);
      })
      .catch((error: unknown) => {
        isDue = true;
        failures += 1;
        logger.debug({ err: error }, 'a watched run could not be read');
      })
      .finally(() => {
        isReading = false;
        if (!isEnded) pause = clock.setTimeout(lookAgain, pauseAfter(failures, heartbeatMs));
      });
  }

  function lookAgain(): void {
    pause = undefined;
    if (isDue) look();
  }

  function beat(): void {
    write(': heartbeat\n\n');
    if (isEnded) return;
    look();
    heartbeat = clock.setTimeout(beat, heartbeatMs);
    recheck();
  }

  // Postgres may be away: that is no reason to turn anybody out.
  function recheck(): void {
    void isAllowed().then(
      (allowed) => (allowed ? undefined : end()),
      () => undefined,
    );
  }

  function begin(run: RunUpdate): void {
    response.once('close', () => void end());
    // Whoever left while the run was being read has closed it already.
    if (response.closed || response.destroyed) return void end();
    heartbeat = clock.setTimeout(beat, heartbeatMs);
    show(run);
  }

  return { environmentId: scope.environmentId, begin, look, recheck, end };
}

/** Resolves when everything is on its way, or nobody is there any more. */
export async function finish(response: ServerResponse): Promise<void> {
  if (response.closed || response.destroyed) return;
  await new Promise<void>((resolve) => {
    response.once('finish', resolve).once('close', resolve).end();
  });
}

function pauseAfter(failures: number, heartbeatMs: number): number {
  if (failures === 0) return readIntervalMs;
  return Math.min(failedReadPauseMs * 2 ** (failures - 1), heartbeatMs);
}

export function runNotFound(): IronflowError {
  return new IronflowError('not_found', 'run_not_found', 'there is no run of that id in this environment');
}

export function tooManyStreams(): IronflowError {
  return new IronflowError('unavailable', 'too_many_streams', 'too much is being watched here', {
    retryAfterSeconds: 5,
  });
}
