/** Waiting between two tries. */
import type { Clock } from '@ironflow/service';

/** Ends early when the service stops. */
export function pause(clock: Clock, delayMs: number, stopping: AbortSignal): Promise<void> {
  if (stopping.aborted) return Promise.resolve();
  return new Promise((resolve) => {
    const end = (): void => {
      timer.cancel();
      stopping.removeEventListener('abort', end);
      resolve();
    };
    const timer = clock.setTimeout(end, delayMs);
    stopping.addEventListener('abort', end);
  });
}
