/** GitHub's webhook payloads, as its documentation has them, and the events they become. */
import { createRequire } from 'node:module';
import type { EmittedEvent } from '@ironflow/sdk';
import { z } from 'zod';

const webhooksSchema = z.array(
  z.object({
    name: z.string(),
    examples: z.array(z.looseObject({ action: z.string().optional() })),
  }),
);

export interface Payload {
  /** Its place in the package, from 0: what expected-runs.ts speaks of. */
  index: number;
  /** `github.<event>.<action>`, or `github.<event>` where there are no actions. */
  eventName: string;
  data: unknown;
}

export function readPayloads(): Payload[] {
  // The package's only module is a JSON file.
  const packaged: unknown = createRequire(import.meta.url)('@octokit/webhooks-examples');
  return webhooksSchema
    .parse(packaged)
    .flatMap(({ name, examples }) => examples.map((data) => ({ name, data })))
    .map(({ name, data }, index) => {
      const tokens = data.action === undefined ? ['github', name] : ['github', name, data.action];
      return { index, eventName: tokens.join('.'), data };
    });
}

/** `demo` tells this run of the demo from others: the same payloads are new webhooks each time. */
export function toEvent(payload: Payload, demo: string): EmittedEvent {
  const delivery = deliveryOf(payload.index, demo);
  return {
    name: payload.eventName,
    data: payload.data,
    // GitHub may send a webhook twice; it starts its functions once.
    idempotencyKey: delivery,
    correlationId: delivery,
  };
}

/** In place of the X-GitHub-Delivery header, which the package does not have. */
export function deliveryOf(index: number, demo: string): string {
  return `${demo}.${index}`;
}

export function payloadOfDelivery(delivery: string): number {
  return Number(delivery.slice(delivery.lastIndexOf('.') + 1));
}

export function isDeliveryOf(delivery: string, demo: string): boolean {
  return delivery.startsWith(`${demo}.`);
}
