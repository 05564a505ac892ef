/**
 * Messages that a step publishes. Each has a key of the run and the step: a step whose process died before it was recorded
 * publishes again, and the platform keeps the first.
 */
import type { PublishAnswer } from '@ironflow/schema';
import { keyOf, unlessRefused } from './platform-calls.js';
import type { PlatformCalls } from './platform-calls.js';

export function publishOnce(
  platform: PlatformCalls,
  message: { topic: string; data: unknown },
  step: { runId: string; stepId: string; signal: AbortSignal },
): Promise<PublishAnswer> {
  const { runId, stepId, signal } = step;
  const idempotencyKey = keyOf(runId, stepId);
  return unlessRefused(() =>
    platform.topics.publish(message.topic, message.data, { idempotencyKey, signal }),
  );
}
