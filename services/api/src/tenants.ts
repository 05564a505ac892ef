/** Tenants and keys of operators, for operators alone. What an environment has in it is beyond them. */
import type { OperatorKeyStore, TenantAdmin, TenantOutcome } from '@ironflow/database';
import { IronflowError } from '@ironflow/errors';
import type { Notices } from '@ironflow/jetstream';
import { routes } from '@ironflow/schema';
import type { Tenant } from '@ironflow/schema';
import { tellAudit } from '@ironflow/service';
import type { HttpApp } from '@ironflow/service';
import type { FastifyRequest } from 'fastify';
import { operatorOf } from './operator-access.js';
import type { OperatorAccess } from './operator-access.js';
import type { DirectNats } from './direct-nats.js';
import type { RegistryAnnouncer } from './registry-announcer.js';
import { serveOperators } from './serve-route.js';

export interface TenantsOptions {
  operatorAccess: OperatorAccess;
  operatorKeys: OperatorKeyStore;
  tenants: TenantAdmin;
  announcer: Pick<RegistryAnnouncer, 'announce'>;
  notices: Pick<Notices, 'publishAccess'>;
  directNats: Omit<DirectNats, 'start' | 'stop'> | undefined;
}

export function addTenants(app: HttpApp, options: TenantsOptions): void {
  const { tenants } = options;
  /** Keys are let in or refused at once, and queues and schedules hear of it. */
  const told = (request: FastifyRequest, outcome: TenantOutcome): Tenant => {
    if (outcome.kind === 'not_found') throw tenantNotFound();
    if (outcome.kind === 'ended') {
      throw new IronflowError('conflict', 'tenant_ended', 'it was deleted, and its grace has ended');
    }
    tellOfOperator(request, [outcome.environmentId]);
    options.notices.publishAccess({ environmentId: outcome.environmentId });
    void options.announcer.announce(outcome.environmentId, outcome.registryVersion);
    const { project, env } = outcome.tenant;
    options.directNats?.retell({ environmentId: outcome.environmentId, project, env });
    return outcome.tenant;
  };
  serveOperators(app, options, routes.createTenant, async (request, reply) => {
    const { environmentIds, ...created } = await tenants.create(request.body);
    tellOfOperator(request, environmentIds);
    for (const environmentId of environmentIds) options.notices.publishAccess({ environmentId });
    const isNew = created.environments.some(({ apiKey }) => apiKey !== undefined);
    return reply
      .code(isNew ? 201 : 200)
      .header('cache-control', 'no-store')
      .send(created);
  });
  serveOperators(app, options, routes.listTenants, (request) => tenants.list(request.query));
  serveOperators(app, options, routes.getTenant, async (request) => {
    const project = await tenants.get(request.params.project);
    if (project === undefined) throw tenantNotFound();
    return project;
  });
  serveOperators(app, options, routes.archiveTenant, async (request) =>
    told(request, await tenants.archive(request.params)),
  );
  serveOperators(app, options, routes.restoreTenant, async (request) =>
    told(request, await tenants.restore(request.params)),
  );
  serveOperators(app, options, routes.deleteTenant, async (request) =>
    told(request, await tenants.delete(request.params, request.query.graceDays)),
  );
  addOperatorKeys(app, options);
}

/** In the log of each environment that it is about, by the operator's key. */
export function tellOfOperator(request: FastifyRequest, environmentIds: readonly string[]): void {
  const { keyId, name } = operatorOf(request);
  tellAudit(request, { environmentIds, actor: { kind: 'operator', id: keyId ?? name } });
}

function addOperatorKeys(app: HttpApp, { operatorKeys, ...options }: TenantsOptions): void {
  serveOperators(app, options, routes.listOperatorKeys, async () => ({
    operatorKeys: await operatorKeys.list(),
  }));
  serveOperators(app, options, routes.createOperatorKey, async (request, reply) => {
    const created = await operatorKeys.create(request.body);
    logOperator(request, 'created', created.id);
    return reply.code(201).header('cache-control', 'no-store').send(created);
  });
  serveOperators(app, options, routes.revokeOperatorKey, async (request) => {
    const key = await operatorKeys.revoke(request.params.id);
    if (key === undefined) {
      throw new IronflowError('not_found', 'key_not_found', 'there is no key of an operator of that id');
    }
    logOperator(request, 'revoked', key.id);
    return key;
  });
}

/** No environment's log is the place of it. */
function logOperator(request: FastifyRequest, outcome: 'created' | 'revoked', operatorKeyId: string): void {
  const { keyId, name } = operatorOf(request);
  request.log.info({ actor: keyId ?? name, operator_key_id: operatorKeyId, outcome }, 'a key of an operator');
}

export function tenantNotFound(): IronflowError {
  const message = 'there is no such project, or no such environment of it';
  return new IronflowError('not_found', 'tenant_not_found', message);
}
