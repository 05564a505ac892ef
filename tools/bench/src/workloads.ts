/** What is measured: three-step runs that are waited for, in pull and in push mode, and events that are only stored. */
import type { Platform } from '@ironflow/platform';
import { runLoad } from './load.js';
import type { LoadResult } from './load.js';

export interface Workload {
  name: string;
  clients: number;
  /** How many events a request has that is only stored; absent where runs are waited for. */
  eventsPerRequest?: number;
  run(seconds: number): Promise<LoadResult>;
}

export const storedEvent = 'bench.stored';
const storingClients = 64;
const pad = 'x'.repeat(150);

type Target = Pick<Platform, 'apiKey'> & { urls: string[] };

export function threeStepRuns(target: Target, functionId: string, clients: number): Workload {
  return {
    name: `3-step run, emit and wait, ${functionId}`,
    clients,
    run: (seconds) =>
      runLoad({
        urls: target.urls.map((url) => `${url}/v1/events?wait=30s`),
        apiKey: target.apiKey,
        clients,
        seconds,
        body: (n) => JSON.stringify({ name: `${functionId}.started`, data: { n, pad } }),
        check: (answer) => (answer as { runs?: { status: string }[] }).runs?.[0]?.status === 'completed',
      }),
  };
}

export function storedEvents(target: Target, eventsPerRequest: number): Workload {
  const event = (n: number) => ({ name: storedEvent, data: { n, pad } });
  const events = (n: number) => Array.from({ length: eventsPerRequest }, () => event(n));
  return {
    name: `${eventsPerRequest} event${eventsPerRequest > 1 ? 's' : ''} a POST`,
    clients: storingClients,
    eventsPerRequest,
    run: (seconds) =>
      runLoad({
        urls: target.urls.map((url) => `${url}/v1/events`),
        apiKey: target.apiKey,
        clients: storingClients,
        seconds,
        body: (n) => JSON.stringify(eventsPerRequest === 1 ? event(n) : events(n)),
        check: (answer) => (answer as { ids?: string[] }).ids?.length === eventsPerRequest,
      }),
  };
}
