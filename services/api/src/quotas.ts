/** Quotas, shown and set. Whoever answers requests holds to them: libs/service/src/quotas.ts. */
import type { Authenticator, QuotaStore, TenantPlaceReader } from '@ironflow/database';
import type { Notices } from '@ironflow/jetstream';
import { routes } from '@ironflow/schema';
import { principalOf } from '@ironflow/service';
import type { HttpApp } from '@ironflow/service';
import type { OperatorAccess } from './operator-access.js';
import type { RegistryAnnouncer } from './registry-announcer.js';
import { serve, serveOperators } from './serve-route.js';
import { tellOfOperator, tenantNotFound } from './tenants.js';

export interface QuotasOptions {
  authenticator: Authenticator;
  operatorAccess: OperatorAccess;
  tenantAt: TenantPlaceReader;
  quotas: QuotaStore;
  notices: Pick<Notices, 'publishQuotas'>;
  announcer: Pick<RegistryAnnouncer, 'announce'>;
}

export function addQuotas(app: HttpApp, options: QuotasOptions): void {
  const { quotas, notices, announcer } = options;
  serve(app, options, routes.getQuotas, (request) =>
    quotas.describe(principalOf(request).scope.environmentId),
  );
  serveOperators(app, options, routes.setQuotas, async (request) => {
    const scope = await options.tenantAt(request.params);
    if (scope === undefined) throw tenantNotFound();
    tellOfOperator(request, [scope.environmentId]);
    const version = await quotas.set(scope.environmentId, request.body);
    if (version !== undefined) void announcer.announce(scope.environmentId, version);
    notices.publishQuotas({ scope });
    return quotas.describe(scope.environmentId);
  });
}
