/** Whose a row is, as statements select it; and the slugs of an environment by its id. */
import type { Scope } from '@ironflow/schema';
import type { Database, Statement } from './database.js';

export interface ScopeRow {
  environment_id: string;
  project: string;
  env: string;
}

/** Of `environments e`; with an `environment_id` they make a ScopeRow. */
export const scopeColumns = 'e.project, e.name as env';

export function scopeOf(row: ScopeRow): Scope {
  return { environmentId: row.environment_id, project: row.project, env: row.env };
}

const environmentsMax = 10_000;

const readScope: Statement = {
  name: 'read_scope',
  text: `select e.id as environment_id, ${scopeColumns} from environments e where e.id = $1`,
};

/** Slugs never change, so what was found is kept. */
export function createScopeReader(
  database: Pick<Database, 'inEnvironment'>,
): (environmentId: string) => Promise<Scope | undefined> {
  const known = new Map<string, Scope>();
  return async (environmentId) => {
    const found = known.get(environmentId);
    if (found !== undefined) return found;
    const [row] = await database.inEnvironment(environmentId, (transaction) =>
      transaction.query<ScopeRow>(readScope, [environmentId]),
    );
    if (row === undefined) return undefined;
    if (known.size >= environmentsMax) known.delete(known.keys().next().value!);
    const scope = scopeOf(row);
    known.set(environmentId, scope);
    return scope;
  };
}

const findEnvironment: Statement = {
  name: 'find_environment',
  text: 'select find_environment($1, $2) as environment_id',
};

export type TenantPlaceReader = (place: Pick<Scope, 'project' | 'env'>) => Promise<Scope | undefined>;

/** By the slugs in its subjects; what was found is kept. */
export function createPlaceReader(database: Pick<Database, 'query'>): TenantPlaceReader {
  const known = new Map<string, Scope>();
  return async ({ project, env }) => {
    const place = `${project}.${env}`;
    const found = known.get(place);
    if (found !== undefined) return found;
    const [row] = await database.query<{ environment_id: string | null }>(findEnvironment, [project, env]);
    const environmentId = row!.environment_id;
    if (environmentId === null) return undefined;
    const scope = { environmentId, project, env };
    known.set(place, scope);
    if (known.size > environmentsMax) known.delete(known.keys().next().value!);
    return scope;
  };
}
