/** The slugs of an environment by its id. They never change, so what was found is kept. */
import type { Database, Statement } from '@ironflow/database';
import type { Scope } from '@ironflow/schema';

export interface EnvironmentDirectory {
  /** `undefined` when there is none of that id. */
  scopeOf(environmentId: string): Promise<Scope | undefined>;
}

const environmentsMax = 10_000;

const readScope: Statement = {
  name: 'ingest_read_scope',
  text: 'select project, name as env from environments where id = $1',
};

export function createEnvironmentDirectory(database: Pick<Database, 'inEnvironment'>): EnvironmentDirectory {
  const known = new Map<string, Scope>();
  return {
    async scopeOf(environmentId) {
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
    },
  };
}
