/**
 * Events on their way through the router: gathered into batches as large as the batch before took long, in which every
 * environment that has some takes its turn, and answered once what the commit made true is published.
 */
import type { StoredEvent } from '@ironflow/schema';
import { createBatcher } from '@ironflow/service';
import type { EventOutcome, EventRouter, RoutedBatch } from './event-router.js';

export interface RoutingTurns {
  /** What became of it; `undefined` when it was not even tried. Never rejects. */
  route(event: StoredEvent): Promise<EventOutcome | undefined>;
  /** Resolves when everything that was taken is answered. */
  stop(): Promise<void>;
}

export interface RoutingTurnsOptions {
  router: Pick<EventRouter, 'route' | 'announce'>;
  batchMax?: number;
  queuedMax: number;
}

interface Item {
  event: StoredEvent;
  settle: (outcome: EventOutcome | undefined) => void;
}

/** Whoever comes while batches are under way waits for one of them: they are no larger than pays. */
const defaultBatchMax = 64;

export function createRoutingTurns(options: RoutingTurnsOptions): RoutingTurns {
  const { router } = options;
  const announcing = new Set<Promise<void>>();
  const finish = async (items: readonly Item[], batch: RoutedBatch): Promise<void> => {
    await router.announce(batch);
    for (const { event, settle } of items) settle(batch.outcomes.get(event.id));
  };
  const batcher = createBatcher<Item, void>({
    maxItems: options.batchMax ?? defaultBatchMax,
    maxConcurrent: 2,
    maxQueued: options.queuedMax,
    lineOf: ({ event }) => event.scope.environmentId,
    run: async (items) => {
      const batch = await router.route(items.map(({ event }) => event));
      // The next batch need not wait for the publishing of this one.
      const announced: Promise<void> = finish(items, batch).finally(() => announcing.delete(announced));
      announcing.add(announced);
      return items.map(() => undefined);
    },
  });
  return {
    route: (event) =>
      new Promise((settle) => {
        batcher.add({ event, settle }).catch(() => settle(undefined));
      }),
    stop: async () => {
      await batcher.stop();
      await Promise.all(announcing);
    },
  };
}
