/**
 * How our programs end when they are interrupted: SIGINT, SIGTERM, and SIGHUP of a terminal that was closed.
 * 1. The first signal aborts; the program gives up what it waits for and cleans up as it always does.
 * 2. The same signal again within half a second is the first one: npm passes on the Ctrl-C that the terminal has sent to us
 *    as well. A later one ends the process at once.
 * 3. A program that does not end in time is ended.
 */
export interface Interruption {
  /** Aborted by the first signal. */
  readonly signal: AbortSignal;
  /** The work's outcome; rejects as soon as a signal comes, so that nobody waits for what is given up. */
  during<T>(work: Promise<T>): Promise<T>;
  /** Signals have their ordinary effect again. */
  release(): void;
}

const endingSignals = ['SIGINT', 'SIGTERM', 'SIGHUP'] as const;
const sameSignalMs = 500;
/** What does not stop within this is left to the end of the process. */
const endWithinMs = 30_000;
/** As shells tell of a program that Ctrl-C ended. */
export const interruptedExitCode = 130;

export function endOnSignal(onFirst: () => void = () => undefined): Interruption {
  const controller = new AbortController();
  let firstAtMs: number | undefined;
  const onSignal = (): void => {
    if (firstAtMs !== undefined) {
      if (performance.now() - firstAtMs > sameSignalMs) process.exit(interruptedExitCode);
      return;
    }
    firstAtMs = performance.now();
    setTimeout(() => process.exit(1), endWithinMs).unref();
    controller.abort(new Error('interrupted'));
    onFirst();
  };
  for (const signal of endingSignals) process.on(signal, onSignal);
  const aborted = new Promise<never>((_, reject) => {
    controller.signal.addEventListener('abort', () => reject(controller.signal.reason as Error));
  });
  aborted.catch(() => undefined);
  return {
    signal: controller.signal,
    during: (work) => Promise.race([work, aborted]),
    release: () => {
      for (const signal of endingSignals) process.off(signal, onSignal);
    },
  };
}
