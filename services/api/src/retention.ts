/** For how long an environment keeps events and ended runs, shown and set. The scheduler goes by it: services/scheduler/src/retention.ts. */
import type { Authenticator, RetentionSettings } from '@ironflow/database';
import { routes } from '@ironflow/schema';
import { principalOf } from '@ironflow/service';
import type { HttpApp } from '@ironflow/service';
import { serve } from './serve-route.js';

export interface RetentionOptions {
  authenticator: Authenticator;
  retention: RetentionSettings;
}

export function addRetention(app: HttpApp, options: RetentionOptions): void {
  const { retention } = options;
  serve(app, options, routes.getRetention, (request) =>
    retention.get(principalOf(request).scope.environmentId),
  );
  serve(app, options, routes.setRetention, (request) =>
    retention.set(principalOf(request).scope.environmentId, request.body.days),
  );
}
