/**
 * Begins pieces of work in their order, so many at once, and gathers what becomes of them. It knows no clock and no
 * steps: the next piece begins in the turn in which one has settled, so a replay begins them in the same order.
 */
import { ConfigurationError } from '../configuration-error.js';
import { toFailure } from '../failure.js';
import { StepError } from '../function-errors.js';
import type { ParallelMode, SettledReason } from '../step-tools.js';

export interface Gathering {
  count: number;
  concurrency: number;
  mode: ParallelMode;
  begin: (index: number) => Promise<unknown>;
}

/** The first pieces begin before it returns. */
export function gather({ count, concurrency, mode, begin }: Gathering): Promise<unknown[]> {
  const results = new Array<unknown>(count);
  let begun = 0;
  let settled = 0;
  let failed = false;
  return new Promise((resolve, reject) => {
    const settle = (index: number, result: unknown): void => {
      results[index] = result;
      settled += 1;
      if (settled === count) resolve(results);
      else beginNext();
    };
    const fail = (error: Error): void => {
      failed = true;
      reject(error);
    };
    const beginNext = (): void => {
      if (failed || begun === count) return;
      const index = begun++;
      begin(index).then(
        (value) => settle(index, mode === 'failFast' ? value : { status: 'fulfilled', value }),
        (error: Error) => {
          // A rule that the code breaks is nothing that became of the work.
          if (mode === 'failFast' || error instanceof ConfigurationError) fail(error);
          else settle(index, { status: 'rejected', reason: reasonOf(error) });
        },
      );
    };
    if (count === 0) resolve(results);
    while (begun < Math.min(count, concurrency)) beginNext();
  });
}

/** Without stacks: a thousand of them would be more than an output takes. */
function reasonOf(thrown: unknown): SettledReason {
  const { name, message } = toFailure(thrown);
  if (!(thrown instanceof StepError)) return { name, message };
  const { stepId, attempts, failure } = thrown;
  return { name, message, stepId, attempts, failure: { name: failure.name, message: failure.message } };
}
