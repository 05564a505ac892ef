/**
 * Tenants as operators manage them, across environments and as ironflow_service: made, listed, archived, restored and deleted.
 * What is deleted is erased by erasure.ts. Archiving holds for schedules by their own rows, since a time is fired under the lock of
 * its schedule; for the rest by the environment's.
 */
import type {
  CreatedTenant,
  CreateTenantBody,
  ProjectResource,
  Scope,
  Tenant,
  TenantsPage,
  TenantsQuery,
} from '@ironflow/schema';
import { asDatabaseError } from './database-error.js';
import type { Database, Queryable, Statement } from './database.js';
import type { Secrets } from './envelope.js';
import {
  addApiKey,
  ensureEnvironment,
  ensureSigningKey,
  onboardingTimes,
  takeOnboardingTurn,
} from './onboarding.js';
import type { Transaction } from './onboarding.js';
import { pageWindow } from './page.js';
import { scheduleKey } from './schedules.js';
import { planOf, tenantStateOf } from './tenant-states.js';
import type { TenantAction } from './tenant-states.js';

export type TenantPlace = Pick<Scope, 'project' | 'env'>;

export interface TenantChange {
  tenant: Tenant;
  environmentId: string;
  /** Of its registry: whoever knows an older one has to read it again. */
  registryVersion: number;
}

export type TenantOutcome = ({ kind: 'done' } & TenantChange) | { kind: 'not_found' } | { kind: 'ended' };

export interface TenantAdmin {
  /** All of it or nothing. Rejects with `project_taken` or `tenant_ended`. */
  create(body: CreateTenantBody): Promise<CreatedTenant & { environmentIds: string[] }>;
  /** The newest first. */
  list(query: TenantsQuery): Promise<TenantsPage>;
  get(project: string): Promise<ProjectResource | undefined>;
  archive(place: TenantPlace): Promise<TenantOutcome>;
  restore(place: TenantPlace): Promise<TenantOutcome>;
  /** Archives it as well. Nothing is erased within an hour, when something of it may still be under way. */
  delete(place: TenantPlace, graceDays: number): Promise<TenantOutcome>;
}

export function createTenantAdmin(database: Database, secrets: Secrets): TenantAdmin {
  return {
    create: async (body) => {
      try {
        return await database.prisma.$transaction(
          (transaction) => createTenant(transaction, secrets, body),
          onboardingTimes,
        );
      } catch (error) {
        throw asDatabaseError(error);
      }
    },
    list: (query) => listTenants(database, query),
    get: (project) => getProject(database, project),
    archive: (place) => change(database, place, { action: 'archive', graceDays: 0 }),
    restore: (place) => change(database, place, { action: 'restore', graceDays: 0 }),
    delete: (place, graceDays) => change(database, place, { action: 'delete', graceDays }),
  };
}

async function createTenant(
  transaction: Transaction,
  secrets: Secrets,
  { organization: asked, project, environments, newKeys }: CreateTenantBody,
): Promise<CreatedTenant & { environmentIds: string[] }> {
  await takeOnboardingTurn(transaction);
  const known = await transaction.project.findUnique({
    where: { slug: project },
    include: { organization: true },
  });
  const organization = asked ?? known?.organization.slug ?? project;
  const made: CreatedTenant['environments'] = [];
  const environmentIds: string[] = [];
  for (const env of environments) {
    const environment = await ensureEnvironment(transaction, { organization, project, env });
    const { id, created } = environment;
    const state = tenantStateOf(environment);
    environmentIds.push(id);
    if (!created && !newKeys) {
      made.push({ env, state, created });
      continue;
    }
    const signingKey = await ensureSigningKey(transaction, secrets, id);
    made.push({ env, state, created, apiKey: await addApiKey(transaction, secrets, id), signingKey });
  }
  return { organization, project, environments: made, environmentIds };
}

async function listTenants(database: Database, { limit, cursor, state }: TenantsQuery): Promise<TenantsPage> {
  const { end } = pageWindow({ limit, cursor });
  const rows = await database.query<TenantRow>(listStatement, [end, limit + 1, state ?? null]);
  const tenants = rows.slice(0, limit).map(toTenant);
  return rows.length > limit ? { tenants, nextCursor: rows[limit - 1]!.id } : { tenants };
}

async function getProject(database: Database, project: string): Promise<ProjectResource | undefined> {
  const rows = await database.query<ProjectRow>(projectStatement, [project]);
  const [first] = rows;
  if (first === undefined) return undefined;
  return {
    organization: first.organization,
    project,
    createdAt: first.project_created_at.toISOString(),
    environments: rows.flatMap((row) => (row.id === null ? [] : [toTenant(row as TenantRow)])),
  };
}

async function change(
  database: Database,
  { project, env }: TenantPlace,
  { action, graceDays }: { action: TenantAction; graceDays: number },
): Promise<TenantOutcome> {
  return database.transaction(async (transaction): Promise<TenantOutcome> => {
    const [row] = await transaction.query<TenantRow & { now: Date }>(lockStatement, [project, env]);
    if (row === undefined) return { kind: 'not_found' };
    const plan = planOf(action, timesOf(row), row.now);
    if (plan === 'ended') return { kind: 'ended' };
    const changed = plan === 'change' ? await act(transaction, row, { action, graceDays }) : row;
    return {
      kind: 'done',
      tenant: toTenant(changed),
      environmentId: row.id,
      registryVersion: changed.registry_version,
    };
  });
}

async function act(
  transaction: Queryable,
  row: TenantRow,
  { action, graceDays }: { action: TenantAction; graceDays: number },
): Promise<TenantRow> {
  const statement = { archive: archiveStatement, restore: restoreStatement, delete: deleteStatement }[action];
  const values = action === 'delete' ? [row.id, graceDays] : [row.id];
  const [times] = await transaction.query<Omit<TenantRow, 'organization'>>(statement, values);
  await transaction.query(schedulesStatement, [row.id, action !== 'restore']);
  return { ...row, ...times! };
}

interface TenantRow {
  id: string;
  organization: string;
  project: string;
  env: string;
  created_at: Date;
  archived_at: Date | null;
  erase_after: Date | null;
  erased_at: Date | null;
  registry_version: number;
}

/** A project without environments has one row of nothing but its own. */
type ProjectRow = { organization: string; project_created_at: Date } & (
  TenantRow | { [Column in keyof Omit<TenantRow, 'organization'>]: null }
);

const timesOf = ({ archived_at, erase_after, erased_at }: TenantRow) => ({
  archivedAt: archived_at,
  eraseAfter: erase_after,
  erasedAt: erased_at,
});

function toTenant(row: TenantRow): Tenant {
  const { archivedAt, eraseAfter, erasedAt } = timesOf(row);
  return {
    organization: row.organization,
    project: row.project,
    env: row.env,
    state: tenantStateOf({ archivedAt, eraseAfter, erasedAt }),
    createdAt: row.created_at.toISOString(),
    ...(archivedAt === null ? {} : { archivedAt: archivedAt.toISOString() }),
    ...(eraseAfter === null ? {} : { eraseAfter: eraseAfter.toISOString() }),
    ...(erasedAt === null ? {} : { erasedAt: erasedAt.toISOString() }),
  };
}

/** Of `environments e` and `organizations o`. */
const columns = `e.id, o.slug as organization, e.project, e.name as env, e.created_at, e.archived_at, e.erase_after,
    e.erased_at, e.registry_version`;
const joined = `environments e join projects p on p.id = e.project_id
    join organizations o on o.id = p.organization_id`;

const listStatement: Statement = {
  name: 'list_tenants',
  text: `select ${columns} from ${joined}
    where e.id < $1::uuid and case $3::text
      when 'active' then e.archived_at is null and e.erased_at is null
      when 'archived' then e.archived_at is not null and e.erase_after is null and e.erased_at is null
      when 'deleting' then e.erase_after is not null and e.erased_at is null
      when 'erased' then e.erased_at is not null
      else e.erased_at is null end
    order by e.id desc limit $2`,
};
const projectStatement: Statement = {
  name: 'get_project',
  text: `select o.slug as organization, p.created_at as project_created_at, e.id, e.project, e.name as env,
      e.created_at, e.archived_at, e.erase_after, e.erased_at, e.registry_version
    from projects p join organizations o on o.id = p.organization_id
    left join environments e on e.project_id = p.id
    where p.slug = $1 order by e.id`,
};
const lockStatement: Statement = {
  name: 'lock_tenant',
  text: `select ${columns}, clock_timestamp() as now from ${joined}
    where e.project = $1 and e.name = $2 for update of e`,
};
const returned = `returning id, project, name as env, created_at, archived_at, erase_after, erased_at, registry_version`;
const archiveStatement: Statement = {
  name: 'archive_tenant',
  text: `update environments set archived_at = clock_timestamp(), registry_version = registry_version + 1
    where id = $1 ${returned}`,
};
const restoreStatement: Statement = {
  name: 'restore_tenant',
  text: `update environments set archived_at = null, erase_after = null, registry_version = registry_version + 1
    where id = $1 ${returned}`,
};
const deleteStatement: Statement = {
  name: 'delete_tenant',
  text: `update environments set archived_at = coalesce(archived_at, clock_timestamp()),
      erase_after = greatest(clock_timestamp() + $2::int * interval '1 day',
        coalesce(archived_at, clock_timestamp()) + interval '1 hour'),
      registry_version = registry_version + 1
    where id = $1 ${returned}`,
};
// What came up while it was archived is settled: it is not fired, and not given up either.
const schedulesStatement: Statement = {
  name: 'archive_schedules',
  text: `with locked as materialized (
    select ${scheduleKey} from schedules s where s.environment_id = $1 order by ${scheduleKey} for update
  )
  update schedules s set
    archived_at = case when $2::boolean then coalesce(s.archived_at, clock_timestamp()) end,
    resumed_at = case when $2::boolean then s.resumed_at else clock_timestamp() end,
    settled_until = case when $2::boolean then s.settled_until else clock_timestamp() end
  from locked l where s.environment_id = l.environment_id and s.function_id = l.function_id and s.cron = l.cron
    and s.timezone = l.timezone`,
};
