/**
 * What Postgres says of the runs of events that somebody waits for. Reads asked for at the same time share a statement,
 * since at the worst time, with NATS away, every wait comes here at once.
 */
import type { EventRuns, IngestStore } from '@ironflow/database';
import { createBatcher } from '@ironflow/service';
import type { Stoppable } from '@ironflow/service';

export interface RunReader extends Stoppable {
  /** `undefined` for an event that is not there. */
  read(environmentId: string, eventId: string): Promise<EventRuns | undefined>;
}

interface ReadRequest {
  environmentId: string;
  eventId: string;
}

/** Outputs come with the rows, up to 4 MiB each, so a statement does not ask for very many. */
const eventsPerReadMax = 50;
const readsMax = 2;
const queuedReadsMax = 100_000;

export function createRunReader(store: Pick<IngestStore, 'eventRuns'>): RunReader {
  const batcher = createBatcher<ReadRequest, EventRuns | undefined>({
    maxItems: eventsPerReadMax,
    maxConcurrent: readsMax,
    maxQueued: queuedReadsMax,
    run: async (requests) => {
      const found = new Map<string, EventRuns>();
      for (const [environmentId, eventIds] of byEnvironment(requests)) {
        const rows = await store.eventRuns(environmentId, eventIds);
        for (const row of rows) found.set(`${environmentId}.${row.eventId}`, row);
      }
      return requests.map(({ environmentId, eventId }) => found.get(`${environmentId}.${eventId}`));
    },
  });
  return {
    read: (environmentId, eventId) => batcher.add({ environmentId, eventId }),
    stop: () => batcher.stop(),
  };
}

function byEnvironment(requests: ReadRequest[]): Map<string, string[]> {
  const grouped = new Map<string, Set<string>>();
  for (const { environmentId, eventId } of requests) {
    const ids = grouped.get(environmentId) ?? new Set();
    grouped.set(environmentId, ids.add(eventId));
  }
  return new Map([...grouped].map(([environmentId, ids]) => [environmentId, [...ids]]));
}
