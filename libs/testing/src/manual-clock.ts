/** Time that stands still until the test moves it on, for whatever takes the `Clock` of libs/service. */
export interface ManualClock {
  /** Milliseconds since 1970. */
  now(): number;
  setTimeout(fire: () => void, delayMs: number): { cancel(): void };
  /**
   * Moves the time on and fires what falls due on the way, in the order of due times (of setting, where equal), each
   * at its own time. A timer set by one that fires is served too if it falls due within the same advance. Between
   * two timers the promises they settled run, so code that awaits a timer and sets the next one is followed.
   */
  advance(ms: number): Promise<void>;
  /** How many timers wait. */
  readonly pending: number;
}

export function createManualClock(startMs = Date.UTC(2030, 0, 1)): ManualClock {
  const timers = new Set<{ dueMs: number; fire: () => void }>();
  let nowMs = startMs;

  /** A set keeps insertion order, and only a strictly earlier timer takes the lead: equal ones fire as they were set. */
  const firstDue = (untilMs: number) => {
    let first: { dueMs: number; fire: () => void } | undefined;
    for (const timer of timers) {
      if (timer.dueMs <= untilMs && (first === undefined || timer.dueMs < first.dueMs)) first = timer;
    }
    return first;
  };

  return {
    now: () => nowMs,
    setTimeout: (fire, delayMs) => {
      const timer = { dueMs: nowMs + Math.max(0, delayMs), fire };
      timers.add(timer);
      return { cancel: () => void timers.delete(timer) };
    },
    advance: async (ms) => {
      const untilMs = nowMs + ms;
      await settlePromises();
      for (let timer = firstDue(untilMs); timer !== undefined; timer = firstDue(untilMs)) {
        timers.delete(timer);
        nowMs = timer.dueMs;
        timer.fire();
        await settlePromises();
      }
      nowMs = untilMs;
    },
    get pending() {
      return timers.size;
    },
  };
}

/** All promise reactions run before the next turn of the event loop. */
function settlePromises(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve));
}
