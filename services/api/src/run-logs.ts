/** What loggers of runs wrote, read. Executors store it: services/executor/src/run-logs.ts. */
import type { ApiStore, Authenticator } from '@ironflow/database';
import { routes } from '@ironflow/schema';
import { principalOf } from '@ironflow/service';
import type { HttpApp } from '@ironflow/service';
import { runNotFound } from './run-streams.js';
import { serve } from './serve-route.js';

export interface RunLogsOptions {
  authenticator: Authenticator;
  store: Pick<ApiStore, 'listRunLogs'>;
}

export function addRunLogs(app: HttpApp, options: RunLogsOptions): void {
  serve(app, options, routes.listRunLogs, async (request) => {
    const { environmentId } = principalOf(request).scope;
    const page = await options.store.listRunLogs(environmentId, request.params.id, request.query);
    if (page === undefined) throw runNotFound();
    return page;
  });
}
