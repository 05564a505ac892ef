/** A logger whose lines say which run they are about; made when there is something to say. */
import { activationSchema, parseTraceparent } from '@ironflow/schema';
import type { Activation } from '@ironflow/schema';
import type { Delivery } from '@ironflow/jetstream';
import { childLogger } from '@ironflow/service';
import type { Logger } from '@ironflow/service';

export function runLogger(logger: Logger, delivery: Delivery): Logger {
  const activation = readActivation(delivery);
  if (activation === undefined) return logger.child({ sequence: delivery.sequence });
  const { runId, scope } = activation;
  const traceId = parseTraceparent(delivery.header('traceparent'))?.traceId;
  return childLogger(logger, { runId, project: scope.project, env: scope.env, traceId });
}

/** `undefined` for a message that is none. */
export function readActivation(delivery: Delivery): Activation | undefined {
  try {
    return activationSchema.parse(JSON.parse(delivery.text()));
  } catch {
    return undefined;
  }
}
