/** Quotas, shown and set. Whoever answers requests holds to them: libs/service/src/quotas.ts. */
import type { Authenticator, QuotaStore } from '@ironflow/database';
import type { Notices } from '@ironflow/jetstream';
import { routes } from '@ironflow/schema';
import { principalOf } from '@ironflow/service';
import type { HttpApp } from '@ironflow/service';
import { serve } from './serve-route.js';

export interface QuotasOptions {
  authenticator: Authenticator;
  quotas: QuotaStore;
  notices: Pick<Notices, 'publishQuotas'>;
}

export function addQuotas(app: HttpApp, options: QuotasOptions): void {
  const { quotas, notices } = options;
  serve(app, options, routes.getQuotas, (request) =>
    quotas.describe(principalOf(request).scope.environmentId),
  );
  serve(app, options, routes.setQuotas, async (request) => {
    const { scope } = principalOf(request);
    await quotas.set(scope.environmentId, request.body);
    notices.publishQuotas({ scope });
    return quotas.describe(scope.environmentId);
  });
}
