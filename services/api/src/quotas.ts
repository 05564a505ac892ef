/** Quotas, shown and set. Whoever answers requests holds to them: libs/service/src/quotas.ts. */
import type { Authenticator, QuotaStore, TenantPlaceReader } from '@ironflow/database';
import type { Notices } from '@ironflow/jetstream';
import { routes } from '@ironflow/schema';
import { principalOf } from '@ironflow/service';
import type { HttpApp } from '@ironflow/service';
import type { OperatorAccess } from './operator-access.js';
import { serve, serveOperators } from './serve-route.js';
import { tellOfOperator, tenantNotFound } from './tenants.js';

export interface QuotasOptions {
  authenticator: Authenticator;
  operatorAccess: OperatorAccess;
  tenantAt: TenantPlaceReader;
  quotas: QuotaStore;
  notices: Pick<Notices, 'publishQuotas'>;
}

export function addQuotas(app: HttpApp, options: QuotasOptions): void {
  const { quotas, notices } = options;
  serve(app, options, routes.getQuotas, (request) =>
    quotas.describe(principalOf(request).scope.environmentId),
  );
  serveOperators(app, options, routes.setQuotas, async (request) => {
    const scope = await options.tenantAt(request.params);
    if (scope === undefined) throw tenantNotFound();
    tellOfOperator(request, [scope.environmentId]);
    await quotas.set(scope.environmentId, request.body);
    notices.publishQuotas({ scope });
    return quotas.describe(scope.environmentId);
  });
}
