/** A logger whose lines say which run they are about; made when there is something to say. */
import { activationSchema } from '@ironflow/schema';
import type { Activation } from '@ironflow/schema';
import type { Delivery } from '@ironflow/jetstream';
import { childLogger, runContext } from '@ironflow/service';
import type { Logger } from '@ironflow/service';

/** `traceparent`: of the run, where that has been read. Only the first activation of a run has it in its headers. */
export function runLogger(
  logger: Logger,
  delivery: Delivery,
  traceparent = delivery.header('traceparent'),
): Logger {
  const activation = readActivation(delivery);
  if (activation === undefined) return logger.child({ sequence: delivery.sequence });
  return childLogger(logger, runContext({ ...activation, traceparent }));
}

/** `undefined` for a message that is none. */
export function readActivation(delivery: Delivery): Activation | undefined {
  try {
    return activationSchema.parse(JSON.parse(delivery.text()));
  } catch {
    return undefined;
  }
}
