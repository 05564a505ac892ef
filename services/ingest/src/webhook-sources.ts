/**
 * Whose the addresses of webhooks are: those that are asked for at the same time share a statement. Nothing is remembered, so that a
 * secret that was replaced and a source that was paused or deleted are so at once.
 */
import { findWebhookSources } from '@ironflow/database';
import type { Database, Secrets, WebhookSource } from '@ironflow/database';
import { createBatcher } from '@ironflow/service';
import type { Stoppable } from '@ironflow/service';

export interface WebhookSources extends Stoppable {
  /** Rejects with `overloaded` when too many are asked for. */
  find(address: string): Promise<WebhookSource | undefined>;
}

const batchMax = 200;
/** Whoever has no address may ask as well: two statements at once leave most connections to those who have a key. */
const statementsMax = 2;
const queuedMax = 5_000;

export function createWebhookSources(database: Database, secrets: Secrets): WebhookSources {
  const batcher = createBatcher<string, WebhookSource | undefined>({
    maxItems: batchMax,
    maxConcurrent: statementsMax,
    maxQueued: queuedMax,
    run: (addresses) => findWebhookSources(database, secrets, addresses),
  });
  return { find: (address) => batcher.add(address), stop: () => batcher.stop() };
}
