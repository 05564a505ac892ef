/** `createOperatorClient`: tenants and keys of operators, for whoever runs the platform. */
import type {
  CreatedOperatorKey,
  CreatedTenant,
  CreateOperatorKeyBody,
  NewTenant,
  OperatorKey,
  ProjectResource,
  QuotasResource,
  SetQuotasBody,
  Tenant,
  TenantsPage,
  TenantsQuery,
} from '@ironflow/schema';
import { ConfigurationError } from '../configuration-error.js';
import { readPlatformUrl } from '../environment.js';
import { createHttp } from './http.js';

export interface OperatorOptions {
  /** Default: IRONFLOW_URL, then http://127.0.0.1:7400. */
  ironflowUrl?: string | undefined;
  /** Default: IRONFLOW_OPERATOR_KEY. */
  operatorKey?: string | undefined;
}

export interface TenantPath {
  project: string;
  env: string;
}

/** `url` is where its keys are good. */
export type TenantCredentials = CreatedTenant & { url: string };

export interface OperatorClient {
  readonly tenants: {
    /** What is there is kept. Not repeated when it is not answered: ask again with `newKeys` then. */
    create(tenant: NewTenant): Promise<TenantCredentials>;
    /** One for each environment, the newest first. */
    list(query?: Partial<TenantsQuery>): Promise<TenantsPage>;
    get(project: string): Promise<ProjectResource>;
    /** Its keys are refused, no run begins and no schedule fires. */
    archive(path: TenantPath): Promise<Tenant>;
    /** Rejects with `tenant_ended` once the grace of a deleted one has ended. */
    restore(path: TenantPath): Promise<Tenant>;
    /** Archived at once, and erased after so many days; 30 by default, with 0 after an hour. */
    delete(path: TenantPath, options?: { graceDays?: number }): Promise<Tenant>;
    /** What is not named stays as it is; null is the platform's default. */
    setQuotas(path: TenantPath, quotas: SetQuotasBody): Promise<QuotasResource>;
  };
  readonly operatorKeys: {
    /** That of the configuration is not among them. */
    list(): Promise<OperatorKey[]>;
    create(key: CreateOperatorKeyBody): Promise<CreatedOperatorKey>;
    revoke(id: string): Promise<OperatorKey>;
  };
}

/** Throws a ConfigurationError when there is no key. Failures of requests are IronflowApiErrors. */
export function createOperatorClient(options: OperatorOptions = {}): OperatorClient {
  const url = readPlatformUrl(options.ironflowUrl);
  const key = options.operatorKey ?? process.env.IRONFLOW_OPERATOR_KEY;
  if (key === undefined || key === '') {
    const message = 'operatorKey: give it as an option or in IRONFLOW_OPERATOR_KEY';
    throw new ConfigurationError(message, 'operatorKey');
  }
  const http = createHttp({ url, apiKey: key });
  const pathOf = ({ project, env }: TenantPath, rest = '') =>
    `/v1/tenants/${encodeURIComponent(project)}/${encodeURIComponent(env)}${rest}`;
  return {
    tenants: {
      create: async (tenant) => {
        const body = JSON.stringify(tenant);
        return { ...(await http.once<CreatedTenant>({ method: 'POST', path: '/v1/tenants', body })), url };
      },
      list: (query = {}) => http.json({ method: 'GET', path: '/v1/tenants', query }),
      get: (project) => http.json({ method: 'GET', path: `/v1/tenants/${encodeURIComponent(project)}` }),
      archive: (path) => http.json({ method: 'POST', path: pathOf(path, '/archive') }),
      restore: (path) => http.json({ method: 'POST', path: pathOf(path, '/restore') }),
      delete: (path, query = {}) => http.json({ method: 'DELETE', path: pathOf(path), query }),
      setQuotas: (path, quotas) =>
        http.json({ method: 'PUT', path: pathOf(path, '/quotas'), body: JSON.stringify(quotas) }),
    },
    operatorKeys: {
      list: async () => {
        const path = '/v1/operator-keys';
        return (await http.json<{ operatorKeys: OperatorKey[] }>({ method: 'GET', path })).operatorKeys;
      },
      create: (given) =>
        http.once({ method: 'POST', path: '/v1/operator-keys', body: JSON.stringify(given) }),
      revoke: (id) => http.json({ method: 'DELETE', path: `/v1/operator-keys/${encodeURIComponent(id)}` }),
    },
  };
}
