/**
 * Who is to stop: the runs that this executor has taken, each told at once when its run is to end. A run is watched
 * from its delivery on, before Postgres is asked about it, so that no request falls in between. A run whose function has used
 * up its time is told in the same way.
 */
import { TurnoverMap } from '@ironflow/collections';
import type { ExecutorStore } from '@ironflow/database';
import { messageOf } from '@ironflow/errors';
import type { Connection, Notices } from '@ironflow/jetstream';
import type { Logger } from '@ironflow/service';

export type StopReason = 'cancelled' | 'timed_out';

/** Of one run that is being driven. */
export class StopRequest {
  private given: StopReason | undefined;
  private listener: () => void = () => undefined;
  private timeOutAtMs = Number.POSITIVE_INFINITY;

  get isRequested(): boolean {
    return this.given !== undefined;
  }

  /** The first one holds. */
  get reason(): StopReason | undefined {
    return this.given;
  }

  request(reason: StopReason = 'cancelled'): void {
    if (this.given !== undefined) return;
    this.given = reason;
    this.listener();
  }

  /** From now on; asked again, the last word holds. By the process's monotonic clock. */
  timeOutIn(ms: number): void {
    this.timeOutAtMs = performance.now() + ms;
  }

  timeOutIfDue(nowMs: number): void {
    if (nowMs >= this.timeOutAtMs) this.request('timed_out');
  }

  /** Called once: now, if it was requested before. The last listener counts. */
  onRequested(listener: () => void): void {
    this.listener = listener;
    if (this.isRequested) listener();
  }
}

export interface StopRequests {
  /** Until `end` is called. */
  watch(runId: string): { stop: StopRequest; end: () => void };
  start(): void;
  stop(): void;
}

export interface StopRequestsOptions {
  notices: Pick<Notices, 'onStop'>;
  connection: Pick<Connection, 'onReconnect'>;
  store: Pick<ExecutorStore, 'stopRequested'>;
  logger: Logger;
}

const pageMax = 500;
const catchUpIntervalMs = 5_000;
/** One timer looks after the time of every run. */
const timeOutTickMs = 250;

export function createStopRequests({
  notices,
  connection,
  store,
  logger,
}: StopRequestsOptions): StopRequests {
  const watched = new TurnoverMap<number, { runId: string; stop: StopRequest }>();
  let count = 0;
  let undo: (() => void)[] = [];
  let tickers: NodeJS.Timeout[] = [];

  const request = (runIds: ReadonlySet<string>): void => {
    for (const { runId, stop } of watched.values()) if (runIds.has(runId)) stop.request();
  };
  /** Notices come at most once: those of the time without a connection, on either side, have to be asked for. */
  const catchUp = async (): Promise<void> => {
    const runIds = [...new Set([...watched.values()].map(({ runId }) => runId))];
    try {
      for (let from = 0; from < runIds.length; from += pageMax) {
        request(new Set(await store.stopRequested(runIds.slice(from, from + pageMax))));
      }
    } catch (error) {
      logger.warn({ reason: messageOf(error) }, 'it cannot be asked now which runs are to stop');
    }
  };
  const timeOut = (): void => {
    const nowMs = performance.now();
    for (const { stop } of watched.values()) stop.timeOutIfDue(nowMs);
  };
  return {
    watch: (runId) => {
      const id = (count += 1);
      const stop = new StopRequest();
      watched.set(id, { runId, stop });
      return { stop, end: () => void watched.delete(id) };
    },
    start: () => {
      undo = [
        notices.onStop(({ runId }) => request(new Set([runId]))),
        connection.onReconnect(() => void catchUp()),
      ];
      tickers = [
        setInterval(() => void catchUp(), catchUpIntervalMs).unref(),
        setInterval(timeOut, timeOutTickMs).unref(),
      ];
    },
    stop: () => {
      for (const ticker of tickers) clearInterval(ticker);
      for (const stopListening of undo) stopListening();
    },
  };
}
