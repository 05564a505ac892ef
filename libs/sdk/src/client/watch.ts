/** A run as it changes, over server-sent events; connects again when the stream breaks before the run has ended. */
import { isTerminal } from '@ironflow/schema';
import type { RunUpdate } from '@ironflow/schema';
import type { Http } from './http.js';
import { readEvents } from './reconnecting-events.js';

export async function* watchRun(of: {
  http: Http;
  runId: string;
  signal: AbortSignal | undefined;
}): AsyncIterableIterator<RunUpdate> {
  const path = `/v1/runs/${encodeURIComponent(of.runId)}/watch`;
  let last: string | undefined;
  const updates = readEvents({
    ...of,
    request: () => ({ path }),
    // Every connection begins with the run's state.
    isNews: ({ name, data }) => name === 'run' && data !== last,
  });
  for await (const text of updates) {
    last = text;
    const update = JSON.parse(text) as RunUpdate;
    yield update;
    if (isTerminal(update.status)) return;
  }
}
