/** An environment's data, read whole. */
import type { Authenticator, ExportStore } from '@ironflow/database';
import { routes } from '@ironflow/schema';
import { principalOf } from '@ironflow/service';
import type { HttpApp } from '@ironflow/service';
import { serve } from './serve-route.js';

export interface ExportOptions {
  authenticator: Authenticator;
  exportStore: ExportStore;
}

export function addExport(app: HttpApp, options: ExportOptions): void {
  serve(app, options, routes.exportTable, (request) =>
    options.exportStore.page(principalOf(request).scope.environmentId, request.params.table, request.query),
  );
}
