/** The slugs of an environment by its id. They never change, so what was found is kept. */
import type { Scope } from '@ironflow/schema';
import type { Database, Statement } from './database.js';

const environmentsMax = 10_000;

const readScope: Statement = {
  name: 'read_scope',
  text: 'select project, name as env from environments where id = $1',
};

export function createScopeReader(
  database: Pick<Database, 'inEnvironment'>,
): (environmentId: string) => Promise<Scope | undefined> {
  const known = new Map<string, Scope>();
  return async (environmentId) => {
    const found = known.get(environmentId);
    if (found !== undefined) return found;
    const [row] = await database.inEnvironment(environmentId, (transaction) =>
      transaction.query<{ project: string; env: string }>(readScope, [environmentId]),
    );
    if (row === undefined) return undefined;
    if (known.size >= environmentsMax) known.delete(known.keys().next().value!);
    const scope = { environmentId, ...row };
    known.set(environmentId, scope);
    return scope;
  };
}
