/** Time as a dependency: production passes `systemClock`, tests pass their own. */
export interface TimerHandle {
  /** Harmless after the timer has fired and when called twice. */
  cancel(): void;
}

export interface Clock {
  /** Milliseconds since 1970. */
  now(): number;
  setTimeout(callback: () => void, delayMs: number): TimerHandle;
}

/** Node fires a timer at once when its delay does not fit 31 bits, so longer ones are chained. */
const timerDelayMsMax = 2 ** 31 - 1;

export const systemClock: Clock = {
  now: () => Date.now(),
  setTimeout(callback, delayMs) {
    let remainingMs = delayMs;
    let timer: NodeJS.Timeout;
    const arm = () => {
      const partMs = Math.min(remainingMs, timerDelayMsMax);
      remainingMs -= partMs;
      timer = setTimeout(remainingMs > 0 ? arm : callback, partMs);
    };
    arm();
    return { cancel: () => clearTimeout(timer) };
  },
};
