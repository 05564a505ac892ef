/** How an activation ends once the handler itself has returned or thrown. */
import type { Outcome } from '@ironflow/schema';
import { decideRetry } from '@ironflow/retry-policy';
import type { RetryPolicy } from '@ironflow/retry-policy';
import { toFailure } from '../failure.js';
import { isNonRetryable, retryAfterMsOf } from '../function-errors.js';
import { writeOutput } from '../output.js';

interface OutcomeContext {
  policy: RetryPolicy;
  /** Of the run. */
  attempt: number;
  random: () => number;
}

export function outcomeOfValue(value: unknown, context: OutcomeContext): Outcome {
  try {
    const output = writeOutput(value);
    return output === undefined ? { kind: 'completed' } : { kind: 'completed', output };
  } catch (thrown) {
    return outcomeOfError(thrown, context);
  }
}

export function outcomeOfError(thrown: unknown, context: OutcomeContext): Outcome {
  const decision = decideRetry(
    context.policy,
    {
      attempt: context.attempt,
      retryable: !isNonRetryable(thrown),
      retryAfterMs: retryAfterMsOf(thrown),
    },
    context.random(),
  );
  const error = toFailure(thrown);
  return decision.retry ? { kind: 'threw', error, retryInMs: decision.delayMs } : { kind: 'threw', error };
}
