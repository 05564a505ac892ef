/**
 * What is due at a time, fired then. It lives in Postgres, whose clock alone says what is due; memory holds one number, when to ask
 * next. That number may be wrong in either direction without harm: too early and nothing fires, too late and the poll finds it.
 *
 * T1 One pass at a time; what is armed while it runs is heard after it.
 * T2 Every replica may fire: rows are taken with `skip locked`, each by one of them.
 * T3 At least every `pollMs` Postgres is asked, since whoever heard of a due time may have died.
 */
import type { Clock, Logger, TimerHandle } from '@ironflow/service';

export interface TimerWheelOptions {
  /** Fires up to so many that are due. */
  fire: (limit: number) => Promise<Fired>;
  nextDueInMs: () => Promise<number | undefined>;
  /** Of the earliest of a pass. */
  onLateness: (seconds: number) => void;
  /** In logs. */
  what: string;
  logger: Logger;
  clock: Clock;
  pollMs?: number;
  batchMax?: number;
}

export interface Fired {
  count: number;
  /** When the next one is due, where that is known without asking for it. */
  nextDueInMs?: number | undefined;
}

export interface TimerWheel {
  start(): void;
  /** Something is due in so many milliseconds. */
  arm(dueInMs: number): void;
  /** There may be something nobody told the due time of. */
  ask(): void;
  stop(): Promise<void>;
}

const defaultPollMs = 5_000;
const defaultBatchMax = 500;
/** Lets neighbours in time share a pass, and keeps two replicas that skip each other's rows from spinning. */
const minimumPauseMs = 5;
const failureDelayMs = 500;
/** Another pass follows at once; the bound lets the process breathe under a backlog. */
const batchesPerPassMax = 50;

export function createTimerWheel(options: TimerWheelOptions): TimerWheel {
  const { logger, clock, pollMs = defaultPollMs, batchMax = defaultBatchMax } = options;
  let passAtMs = Infinity;
  /** The earliest due time that is known of, by our clock; for lateness only. */
  let dueAtMs = Infinity;
  let handle: TimerHandle | undefined;
  let pass: Promise<void> | undefined;
  let stopped = true;

  const passIn = (delayMs: number): void => {
    const atMs = clock.now() + Math.max(minimumPauseMs, delayMs);
    if (stopped || atMs >= passAtMs) return;
    passAtMs = atMs;
    // While a pass runs the time is only noted: its end sets the timer.
    if (pass === undefined) schedule();
  };
  const schedule = (): void => {
    handle?.cancel();
    handle = undefined;
    if (stopped || passAtMs === Infinity) return;
    handle = clock.setTimeout(run, Math.max(0, passAtMs - clock.now()));
  };
  const run = (): void => {
    handle = undefined;
    passAtMs = Infinity;
    pass = runPass().finally(() => {
      pass = undefined;
      schedule();
    });
  };
  const arm = (dueInMs: number): void => {
    dueAtMs = Math.min(dueAtMs, clock.now() + dueInMs);
    // A fraction of a millisecond early would be a pass for nothing.
    passIn(Math.min(pollMs, Math.ceil(dueInMs)));
  };

  /** Answers when the next one is due, if it knows. */
  const fireDue = async (): Promise<number | undefined> => {
    const expectedAtMs = dueAtMs;
    dueAtMs = Infinity;
    for (let batches = 0; batches < batchesPerPassMax; batches += 1) {
      const fired = await options.fire(batchMax);
      if (batches === 0 && fired.count > 0 && expectedAtMs !== Infinity) {
        options.onLateness(Math.max(0, clock.now() - expectedAtMs) / 1_000);
      }
      if (fired.count < batchMax) return fired.nextDueInMs;
    }
    return undefined;
  };
  const runPass = async (): Promise<void> => {
    try {
      const known = dueAtMs <= clock.now() ? await fireDue() : undefined;
      const next = known ?? (await options.nextDueInMs());
      if (next === undefined) passIn(pollMs);
      else arm(next);
    } catch (error) {
      logger.warn({ err: error }, `${options.what} cannot be read now; they are tried again`);
      // Whether anything was due is no longer known.
      dueAtMs = Math.min(dueAtMs, clock.now());
      passIn(failureDelayMs);
    }
  };

  return {
    start: () => {
      stopped = false;
      passIn(0);
    },
    arm,
    ask: () => passIn(0),
    stop: async () => {
      stopped = true;
      handle?.cancel();
      await pass;
    },
  };
}
