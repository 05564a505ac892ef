/** Every service of the platform, and which of them answers what at the one URL that a user knows. */
import { apiService } from '@ironflow/api';
import { circuitBreakerService } from '@ironflow/circuit-breaker';
import { cronService } from '@ironflow/cron';
import { executorService } from '@ironflow/executor';
import { ingestService } from '@ironflow/ingest';
import { resultCollectorService } from '@ironflow/result-collector';
import { schedulerService } from '@ironflow/scheduler';
import { routes, workerPath } from '@ironflow/schema';
import type { Route } from '@ironflow/schema';

export const services = {
  ingest: ingestService,
  scheduler: schedulerService,
  executor: executorService,
  'result-collector': resultCollectorService,
  cron: cronService,
  'circuit-breaker': circuitBreakerService,
  api: apiService,
} as const;

export type ServiceName = keyof typeof services;
export const serviceNames = Object.keys(services) as ServiceName[];

/** Those that answer requests from outside. */
export type PublicService = 'ingest' | 'api' | 'executor';

/** The service that answers a request; the api for whatever is no route, so that it is a 404 like any other. */
export function serviceFor(method: string, path: string): PublicService {
  if (path === workerPath) return 'executor';
  return ingestRoutes.some((route) => route.method === method && route.path.test(path)) ? 'ingest' : 'api';
}

const ingestRoutes = Object.values<Route>(routes)
  .filter(({ service }) => service === 'ingest')
  .map(({ method, path }) => ({ method, path: new RegExp(`^${path.replaceAll(/:\w+/g, '[^/]+')}$`) }));
