export { backoffMs, decideRetry, defaultRetryPolicy } from './retry-policy.js';
export type { FailedAttempt, RetryDecision, RetryPolicy } from './retry-policy.js';
