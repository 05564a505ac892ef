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
