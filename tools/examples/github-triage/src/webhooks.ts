/** Sends the events, and finds the runs that they started, through the client that any user has. */
import { setTimeout as delay } from 'node:timers/promises';
import type { Client, EmittedEvent, Run, RunDetail } from '@ironflow/sdk';

const batchSize = 100;
/** The functions take three seconds; these are for a slow machine. */
const emitWaitSecondsMax = 25;
const lastRunsWaitMsMax = 15_000;
const pollIntervalMs = 250;
const pageSize = 200;
/** A page of runs starts no earlier than this before the demo: the platform's clock may be another one. */
const clockSkewMs = 60_000;
const detailsAtOnce = 8;

/**
 * Answers with the ids of the accepted events, in their order. It waits for the runs: an answer says that the platform has
 * decided for every event which functions it starts, so that runs nobody expected are there to be found as well.
 */
export async function emitAll(client: Client, events: readonly EmittedEvent[]): Promise<string[]> {
  const answers = await Promise.all(
    batches(events, batchSize).map((batch) => client.emit(batch, { wait: `${emitWaitSecondsMax}s` })),
  );
  return answers.flatMap(({ ids }) => ids);
}

/** Every run that our events started, with its steps, once as many as expected have ended or the time is over. */
export async function waitForRuns(of: {
  client: Client;
  expectedRuns: number;
  isOurs: (correlationId: string) => boolean;
  startedAtMs: number;
}): Promise<RunDetail[]> {
  const deadlineMs = performance.now() + lastRunsWaitMsMax;
  let runs = await listRuns(of);
  const isComplete = (): boolean =>
    runs.length >= of.expectedRuns && runs.every((run) => endStatuses.has(run.status));
  while (!isComplete() && performance.now() < deadlineMs) {
    await delay(pollIntervalMs);
    runs = await listRuns(of);
  }
  const details: RunDetail[] = [];
  for (const some of batches(runs, detailsAtOnce)) {
    details.push(...(await Promise.all(some.map(({ id }) => of.client.runs.get(id)))));
  }
  return details;
}

const endStatuses: ReadonlySet<Run['status']> = new Set(['completed', 'failed', 'cancelled', 'skipped']);

async function listRuns(of: Parameters<typeof waitForRuns>[0]): Promise<Run[]> {
  const from = new Date(of.startedAtMs - clockSkewMs).toISOString();
  const found: Run[] = [];
  let cursor: string | undefined;
  do {
    const page = await of.client.runs.list({
      from,
      limit: pageSize,
      ...(cursor === undefined ? {} : { cursor }),
    });
    found.push(...page.runs.filter((run) => of.isOurs(run.correlationId)));
    cursor = page.nextCursor;
  } while (cursor !== undefined);
  return found.reverse();
}

function batches<T>(items: readonly T[], size: number): T[][] {
  const count = Math.ceil(items.length / size);
  return Array.from({ length: count }, (_, index) => items.slice(index * size, (index + 1) * size));
}
