/** Where environments are: for those who have an id and have to know whose subjects it goes with. */
import type { Scope } from '@ironflow/schema';
import type { Database, Statement } from './database.js';
import { scopeColumns } from './run-to-activate.js';

/** Those that do not exist are missing. */
export async function readScopes(
  database: Database,
  environmentIds: readonly string[],
): Promise<Map<string, Scope>> {
  if (environmentIds.length === 0) return new Map();
  const rows = await database.query<ScopeRow>(scopesStatement, [environmentIds]);
  return new Map(rows.map(({ id, project, env }) => [id, { environmentId: id, project, env }]));
}

const scopesStatement: Statement = {
  name: 'read_scopes',
  text: `select e.id, ${scopeColumns} from environments e where e.id = any($1::uuid[])`,
};

interface ScopeRow {
  id: string;
  project: string;
  env: string;
}
