/**
 * The log of deliveries to webhooks, written in batches. It tells of deliveries and decides nothing: one that cannot be logged
 * is taken or refused all the same.
 */
import { randomBytes } from 'node:crypto';
import { recordDeliveries } from '@ironflow/database';
import type { Database, NewDelivery } from '@ironflow/database';
import { messageOf } from '@ironflow/errors';
import { createId } from '@ironflow/schema';
import { createBatcher } from '@ironflow/service';
import type { Clock, Logger, Metrics, Stoppable } from '@ironflow/service';

export interface WebhookLogOptions {
  database: Database;
  metrics: Metrics;
  logger: Logger;
  clock: Clock;
}

export interface WebhookLog extends Stoppable {
  /** Resolves, never rejects, when it is written or could not be. */
  record(environmentId: string, delivery: Omit<NewDelivery, 'id'>): Promise<void>;
}

interface Entry {
  environmentId: string;
  delivery: NewDelivery;
}

const batchMax = 500;
/** Beyond, deliveries come faster than they can be told of. */
const queuedMax = 5_000;

export function createWebhookLog({ database, metrics, logger, clock }: WebhookLogOptions): WebhookLog {
  const counter = metrics.counter(
    'ingest_webhook_deliveries_total',
    'Deliveries to webhooks, by what became of them',
    ['status'],
  );
  const counts = {
    accepted: counter.bind({ status: 'accepted' }),
    duplicate: counter.bind({ status: 'duplicate' }),
    refused: counter.bind({ status: 'refused' }),
  };
  const unlogged = metrics.counter(
    'ingest_webhook_deliveries_unlogged_total',
    'Deliveries that could not be logged',
  );

  const write = async (entries: Entry[]): Promise<undefined[]> => {
    for (const [environmentId, deliveries] of byEnvironment(entries)) {
      await recordDeliveries(database, environmentId, deliveries).catch((error: unknown) => {
        unlogged.add(deliveries.length);
        logger.warn({ reason: messageOf(error) }, 'deliveries to webhooks were not logged');
      });
    }
    return entries.map(() => undefined);
  };
  const batcher = createBatcher<Entry, undefined>({
    maxItems: batchMax,
    maxConcurrent: 2,
    maxQueued: queuedMax,
    run: write,
  });
  return {
    record: async (environmentId, delivery) => {
      counts[delivery.status].add();
      const id = createId(clock.now(), randomBytes(10));
      await batcher.add({ environmentId, delivery: { ...delivery, id } }).catch(() => unlogged.add());
    },
    stop: () => batcher.stop(),
  };
}

function byEnvironment(entries: readonly Entry[]): Map<string, NewDelivery[]> {
  const grouped = new Map<string, NewDelivery[]>();
  for (const { environmentId, delivery } of entries) {
    const deliveries = grouped.get(environmentId);
    if (deliveries === undefined) grouped.set(environmentId, [delivery]);
    else deliveries.push(delivery);
  }
  return grouped;
}
