/** A timer that its owner brings, so that tests need not wait. Returns what cancels it. */
export type StartTimer = (delayMs: number, callback: () => void) => () => void;

export const startTimer: StartTimer = (delayMs, callback) => {
  const timer = setTimeout(callback, delayMs);
  return () => clearTimeout(timer);
};
